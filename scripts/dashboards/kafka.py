"""Kafka and commits: how far behind, how long a commit takes, who joins and leaves, how far a restore is."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.dashboards.board import Panel, board, choice, chosen, lines, quantiles, rate, summed

_STREAM = 'stream=~"$stream"'
_TOPIC = 'topic=~"$topic"'
_TABLE = 'table=~"$table"'
_SLOWEST = 0.001
"""Records a second below which a restore counts as standing still: the time left has to be a number."""


def dashboard() -> Dashboard:
    """What happens between the workers and the brokers."""
    here = 'job=~"$job", instance=~"$instance"'
    return board(
        "kafka",
        "Kafka and commits",
        "How far behind, how long a commit takes, who joins and leaves, how far a restore is.",
        [
            choice("stream", "streamfold_commit_seconds_count", "Streams.", matchers=here),
            choice("topic", "streamfold_lag_events", "Topics of the streams.", matchers=here),
            choice("table", "streamfold_keys", "Tables.", matchers=here),
        ],
        {"Lag": _lag(), "Commits": _commits(), "Group": _group(), "Restore": _restore()},
    )


def _lag() -> list[Panel]:
    lag = chosen("streamfold_lag_events", _TOPIC)
    events = summed(rate("streamfold_events_total"), "instance")
    return [
        lines(
            "Lag by partition",
            "Events behind the end of each partition. One that rises alone has a busy key, or stands still.",
            "short",
            {"{{topic}}-{{partition}}": summed(lag, "topic", "partition")},
        ),
        lines(
            "Lag in time",
            "How long a worker takes for what it is behind, at the pace of now; nothing while it folds nothing.",
            "s",
            {"{{instance}}": f"{summed(lag, 'instance')} / ({events} > 0)"},
        ),
    ]


def _commits() -> list[Panel]:
    commits = summed(rate("streamfold_commit_seconds_count", _STREAM), "stream")
    return [
        lines(
            "Commit time", "From the cut to its commit.", "s", quantiles("streamfold_commit_seconds", "stream", _STREAM)
        ),
        lines(
            "Events in a commit",
            "How many events a commit carries: more of them cost fewer commits.",
            "short",
            quantiles("streamfold_batch_events", "stream", _STREAM),
        ),
        lines("Commits", "Transactions that went through, per second.", "ops", {"{{stream}}": commits}),
    ]


def _group() -> list[Panel]:
    rebalances = summed(rate("streamfold_rebalances_total"), "instance")
    fences = summed(rate("streamfold_fenced_total"), "instance")
    return [
        lines("Rebalances", "Assignments received, per second.", "cps", {"{{instance}}": rebalances}),
        lines(
            "Fences",
            "Commits refused because the partition has a newer owner, or because they took too long, per second.",
            "cps",
            {"{{instance}}": fences},
        ),
    ]


def _restore() -> list[Panel]:
    left = chosen("streamfold_restore_remaining_events", _TABLE)
    pace = f"deriv({left}[$__rate_interval])"
    to_go, done = summed(left, "table", "partition"), summed(f"-{pace}", "table", "partition")
    return [
        lines(
            "Records to go",
            "Records of the changelog that a restore still has to read.",
            "short",
            {"{{table}}-{{partition}}": to_go},
        ),
        lines(
            "Time left",
            "When a restore ends at the pace of now; 0 when there is none, days when it stands still.",
            "s",
            {"{{table}}-{{partition}}": f"{to_go} / clamp_min({done}, {_SLOWEST})"},
        ),
        lines(
            "Restores",
            "State rebuilt from its changelog, per second. Without a rebalance or a start there is none.",
            "cps",
            {"{{reason}}": summed(rate("streamfold_restores_total"), "reason")},
        ),
    ]
