"""Overview: is it well, how much goes through, how quickly, and what is left out."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.dashboards.board import Panel, board, choice, chosen, lines, number, quantile, quantiles, rate, summed

_STREAM = 'stream=~"$stream"'
_TABLE = 'table=~"$table"'


def dashboard() -> Dashboard:
    """The first one to look at."""
    streams = choice("stream", "streamfold_commit_seconds_count", "Streams.", matchers='job=~"$job"')
    tables = choice("table", "streamfold_keys", "Tables.", matchers='job=~"$job"')
    return board(
        "overview",
        "Overview",
        "Is it well, how much goes through, how quickly, and what is left out.",
        [streams, tables],
        {"Now": _now(), "Through": _through(), "Behind": _behind(), "Left out": _left_out()},
    )


def _now() -> list[Panel]:
    ready = chosen("streamfold_ready")
    return [
        number("Workers ready", "Workers that take events on all of their partitions.", "none", summed(ready)),
        number("Workers not ready", "Workers that start, restore or wait.", "none", f"count({ready}) - sum({ready})"),
        number("Events", "Events folded and committed.", "eps", summed(rate("streamfold_events_total", _STREAM))),
        number("Results", "Output records committed.", "cps", summed(rate("streamfold_outputs_total", _TABLE))),
        number("Lag", "Events behind the end of their partitions.", "short", summed(chosen("streamfold_lag_events"))),
        number(
            "Latency, 99 %",
            "From a record's timestamp to the commit of its results: one in a hundred takes longer.",
            "s",
            quantile(0.99, "streamfold_latency_seconds", matchers=_STREAM),
        ),
    ]


def _through() -> list[Panel]:
    return [
        lines(
            "Events by stream",
            "Events folded and committed, per second.",
            "eps",
            {"{{stream}}": summed(rate("streamfold_events_total", _STREAM), "stream")},
        ),
        lines(
            "Results by table",
            "Output records committed, per second.",
            "cps",
            {"{{table}}": summed(rate("streamfold_outputs_total", _TABLE), "table")},
        ),
    ]


def _behind() -> list[Panel]:
    return [
        lines(
            "Latency",
            "From a record's timestamp to the commit of its results, of some of the records.",
            "s",
            quantiles("streamfold_latency_seconds", "stream", matchers=_STREAM),
        ),
        lines(
            "Lag by topic",
            "Events behind the end of the topic. What rises steadily is not folded as quickly as it comes.",
            "short",
            {"{{topic}}": summed(chosen("streamfold_lag_events"), "topic")},
        ),
    ]


def _left_out() -> list[Panel]:
    return [
        lines(
            "Dead letters",
            "Events refused, per second, by where and why. Each is in the topic of dead letters.",
            "eps",
            {"{{stage}}: {{reason}}": summed(rate("streamfold_dead_letters_total"), "stage", "reason")},
        ),
        lines(
            "Filtered and skipped",
            "Events that `where` left out of a stream, and those that lacked the fields of every operator of a table.",
            "eps",
            {
                "filtered, {{stream}}": summed(rate("streamfold_filtered_total", _STREAM), "stream"),
                "skipped, {{table}}": summed(rate("streamfold_skipped_total", _TABLE), "table"),
            },
        ),
    ]
