"""The rules of Prometheus: what is recorded for alerts and dashboards, and when somebody is told.

``minute`` is how many seconds a minute of the rules lasts: a test that provokes the faults has no minutes to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

JOB = "streamfold"
"""The scrape job of the workers: of one that is gone, nothing else is known."""

_RUNBOOK = "docs/how-to/operations.md"
_WIDTH = 118
_HEAD = "# Made by `make dashboards`.\n"

Group = dict[str, Any]


@dataclass(frozen=True)
class Alert:
    """When to tell somebody: ``expr`` has held for so many minutes."""

    name: str
    expr: str
    minutes: int
    severity: str
    summary: str
    description: str

    def rule(self, minute: int) -> Group:
        """As Prometheus has it; the entry of the runbook has the name of the alert."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": lasting(self.minutes, minute)} if self.minutes else {}),
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{_RUNBOOK}#{self.name.lower()}",
            },
        }


def lasting(minutes: int, minute: int) -> str:
    """A duration, as Prometheus writes it."""
    seconds = minutes * minute
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}m"


def recording(minute: int = 60) -> Sequence[Group]:
    """What is recorded, named ``level:metric:operations``."""
    window = lasting(5, minute)

    def quantile(metric: str) -> str:
        return f"histogram_quantile(0.99, sum by (job, stream, le) (rate({metric}_bucket[{window}])))"

    records = {
        "job_topic:streamfold_lag_events:sum": "sum by (job, topic) (streamfold_lag_events)",
        "job_stream:streamfold_events:rate5m": f"sum by (job, stream) (rate(streamfold_events_total[{window}]))",
        "job_stream:streamfold_commit_seconds:p99_5m": quantile("streamfold_commit_seconds"),
        "job_stream:streamfold_latency_seconds:p99_5m": quantile("streamfold_latency_seconds"),
    }
    return [_group("streamfold-recording", [{"record": name, "expr": expr} for name, expr in records.items()], minute)]


def alerting(minute: int = 60) -> Sequence[Group]:
    """Who is told what, when."""
    return [_group("streamfold-alerts", [alert.rule(minute) for alert in alerts(minute)], minute)]


def as_yaml(groups: Sequence[Group]) -> str:
    """A file of rules."""
    return dumped({"groups": list(groups)})


def dumped(document: Group) -> str:
    """A file in YAML."""
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_WIDTH)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it stands."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def alerts(minute: int = 60) -> list[Alert]:
    """All alerts; the names are those of the runbook."""
    return [*_workers(minute), *_flow(minute), *_group_and_state(minute)]


def _workers(minute: int) -> list[Alert]:
    return [
        Alert(
            "StreamfoldWorkerAbsent",
            f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})',
            2,
            "critical",
            "A worker can't be reached",
            "No metrics come from {{ $labels.instance }} of job {{ $labels.job }}: the process is gone, or hangs.",
        ),
        Alert(
            "StreamfoldNotReady",
            "streamfold_ready == 0",
            5,
            "critical",
            "A worker is not ready",
            "A partition of {{ $labels.instance }} takes no events.",
        ),
        Alert(
            "StreamfoldRebalanceStorm",
            f"sum by (job, instance) (increase(streamfold_rebalances_total[{lasting(15, minute)}])) > 5",
            0,
            "warning",
            "The group rebalances again and again",
            "{{ $labels.instance }} was given partitions more than five times within 15 minutes.",
        ),
        Alert(
            "StreamfoldFenced",
            f"sum by (job, instance) (increase(streamfold_fenced_total[{lasting(15, minute)}])) > 0",
            0,
            "warning",
            "Commits are refused",
            "Commits of {{ $labels.instance }} were refused: their partition has a newer owner, or they took too long.",
        ),
    ]


def _flow(minute: int) -> list[Alert]:
    five, ten = lasting(5, minute), lasting(10, minute)
    lag = "job_topic:streamfold_lag_events:sum"
    letters, by = "streamfold_dead_letters_total", "sum by (job, stage, reason)"
    return [
        Alert(
            "StreamfoldLagRising",
            f"{lag} > 1000 and deriv({lag}[{ten}]) > 0",
            10,
            "warning",
            "The lag rises",
            "Events of topic {{ $labels.topic }} come faster than they are folded.",
        ),
        Alert(
            "StreamfoldNoProgress",
            "sum by (job, instance) (streamfold_lag_events) > 0\n"
            f"and sum by (job, instance) (delta(streamfold_lag_events[{five}])) >= 0\n"
            f"unless sum by (job, instance) (rate(streamfold_events_total[{five}])) > 0",
            5,
            "critical",
            "Nothing is folded, and there is something to fold",
            "{{ $labels.instance }} is behind and commits no events.",
        ),
        Alert(
            "StreamfoldDeadLetters",
            # The first letter makes its series: that is no increase, for nothing was there before.
            f"{by} (increase({letters}[{five}])) > 0\nor ({by} ({letters}) unless {by} ({letters} offset {five}))",
            0,
            "warning",
            "Events are refused",
            "Events became dead letters at stage {{ $labels.stage }}: {{ $labels.reason }}.",
        ),
        Alert(
            "StreamfoldSlowCommits",
            "job_stream:streamfold_commit_seconds:p99_5m > 1",
            10,
            "warning",
            "Commits are slow",
            "One in a hundred commits of stream {{ $labels.stream }} takes longer than a second.",
        ),
    ]


def _group_and_state(minute: int) -> list[Alert]:
    left = "streamfold_restore_remaining_events"
    return [
        Alert(
            "StreamfoldRestoreStuck",
            f"{left} > 0 and delta({left}[{lasting(5, minute)}]) >= 0",
            5,
            "critical",
            "A restore stands still",
            "{{ $labels.instance }} restores table {{ $labels.table }}, partition {{ $labels.partition }}, no further.",
        ),
        Alert(
            "StreamfoldRestoreLoop",
            f"sum by (job) (increase(streamfold_restores_total[{lasting(15, minute)}]))\n"
            "> 3 * count by (job) (streamfold_lag_events)",
            0,
            "warning",
            "State is rebuilt again and again",
            "Within 15 minutes the workers of job {{ $labels.job }} rebuilt their state more than three times.",
        ),
    ]


def _group(name: str, rules: Sequence[Group], minute: int) -> Group:
    """Recorded and looked at four times a minute."""
    return {"name": name, "interval": f"{max(1, minute // 4)}s", "rules": list(rules)}
