"""What the demonstration knows at a moment: the newest results, and how fast they come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from pipeline.edges.demo.exact import Event

_RATE_SECONDS = 5.0


@dataclass
class Vitals:
    """The worker's metrics that are shown; None while it can't be asked."""

    lag: float | None = None
    commit_seconds: float | None = None
    ready: bool = False


@dataclass
class Board:
    """``latest`` holds each table's newest record by key; ``counts`` the records of each table so far."""

    address: str
    page: str
    started: float = field(default_factory=time.monotonic)
    sent: int = 0
    latest: dict[str, dict[str, Event]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    vitals: Vitals = field(default_factory=Vitals)
    scraped: float = 0.0
    _history: deque[tuple[float, int]] = field(default_factory=deque)
    _commits: tuple[float, float] = (0.0, 0.0)

    def add(self, table: str, record: Event) -> None:
        """One more output record."""
        self.latest.setdefault(table, {})[record["key"]] = record
        self.counts[table] = self.counts.get(table, 0) + 1

    def tick(self) -> None:
        """Note the moment, for the rates."""
        now = time.monotonic()
        self._history.append((now, sum(self.counts.values())))
        while now - self._history[0][0] > _RATE_SECONDS:
            self._history.popleft()

    @property
    def elapsed(self) -> float:
        """Seconds since the pipeline was started."""
        return time.monotonic() - self.started

    @property
    def published(self) -> int:
        """Output records so far."""
        return sum(self.counts.values())

    @property
    def rate(self) -> float:
        """Output records a second, over the last seconds."""
        (then, before), (now, after) = self._history[0], self._history[-1]
        return (after - before) / (now - then) if now > then else 0.0

    def scrape(self) -> None:
        """Ask the worker for its metrics."""
        self.scraped = time.monotonic()
        try:
            with urlopen(f"{self.page}/metrics", timeout=1) as reply:
                metrics = _sums(reply.read().decode())
        except (URLError, OSError):
            self.vitals = Vitals()
            return
        seconds, commits = (
            metrics.get("streamfold_commit_seconds_sum", 0),
            metrics.get("streamfold_commit_seconds_count", 0),
        )
        spent, done = seconds - self._commits[0], commits - self._commits[1]
        self._commits = (seconds, commits)
        self.vitals = Vitals(
            lag=metrics.get("streamfold_lag_events"),
            commit_seconds=spent / done if done else self.vitals.commit_seconds,
            ready=metrics.get("streamfold_ready") == 1,
        )


def _sums(text: str) -> Mapping[str, float]:
    """Each sample's sum over its labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums
