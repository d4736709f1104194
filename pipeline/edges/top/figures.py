"""What `top` shows, as plain data: rates are a second, sizes in bytes, and None is what nobody can tell yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from pipeline.core.config.model import App
from pipeline.core.config.repartition import rewritten
from pipeline.edges.top.samples import Samples, quantile

State = Literal["ready", "not ready", "gone"]


class Percentiles(msgspec.Struct, frozen=True):
    """Of a duration in seconds."""

    p50: float | None
    p99: float | None


class StreamFigures(msgspec.Struct, frozen=True):
    """A stream, over all workers."""

    events_per_second: float | None
    lag: int | None
    commit_seconds: Percentiles
    latency_seconds: Percentiles


class Restoring(msgspec.Struct, frozen=True):
    """How many changelog records are still to be read, ``of`` how many, and how long that takes at this rate."""

    remaining: int
    of: int
    seconds_left: float | None


class TableFigures(msgspec.Struct, frozen=True):
    """A table, over all workers."""

    keys: int
    outputs_per_second: float | None
    state_bytes: int
    restoring: Restoring | None


class WorkerFigures(msgspec.Struct, frozen=True):
    """A worker: ``reasons`` say why it is not ready, ``returned`` how often it was gone and came back."""

    state: State
    reasons: Sequence[str]
    gone_seconds: float | None
    returned: int


class Snapshot(msgspec.Struct, frozen=True):
    """Everything at one moment; ``time`` is Unix time."""

    app: str
    time: float
    workers: Mapping[str, WorkerFigures]
    streams: Mapping[str, StreamFigures]
    tables: Mapping[str, TableFigures]
    dead_letters_per_second: float | None


@dataclass(frozen=True)
class Report:
    """What one worker says: ``now``, and ``grown`` since the last time, ``seconds`` ago; None at the first time."""

    now: Samples
    grown: Samples | None
    seconds: float


class Figures:
    """Adds up what the workers of an app report; remembers of each restore how much there was to read."""

    def __init__(self, app: App) -> None:
        runs = rewritten(app)
        self._topics = {name: stream.topic for name, stream in runs.streams.items() if runs.tables_of(stream)}
        self._tables = tuple(runs.tables)
        self._restores: dict[tuple[str, str, str], _Restore] = {}

    def streams(self, reports: Mapping[str, Report]) -> dict[str, StreamFigures]:
        """Each stream that a table reads, those between a hop and its table too."""
        every = list(reports.values())
        rates = _rates(every, "events_total", "stream")
        lags = _sums(every, "lag_events", "topic")
        return {
            name: StreamFigures(
                events_per_second=None if rates is None else rates[name],
                lag=int(lags[topic]) if topic in lags else None,
                commit_seconds=_percentiles(every, "commit_seconds", name),
                latency_seconds=_percentiles(every, "latency_seconds", name),
            )
            for name, topic in self._topics.items()
        }

    def tables(self, reports: Mapping[str, Report]) -> dict[str, TableFigures]:
        """Each table, hops too."""
        every = list(reports.values())
        rates = _rates(every, "outputs_total", "table")
        keys, sizes = _sums(every, "keys", "table"), _sums(every, "state_bytes", "table")
        restoring = self._restoring(reports)
        return {
            name: TableFigures(
                keys=int(keys[name]),
                outputs_per_second=None if rates is None else rates[name],
                state_bytes=int(sizes[name]),
                restoring=restoring.get(name),
            )
            for name in self._tables
        }

    @staticmethod
    def dead_letters(reports: Iterable[Report]) -> float | None:
        """Events refused a second."""
        rates = _rates(list(reports), "dead_letters_total", None)
        return None if rates is None else sum(rates.values())

    def _restoring(self, reports: Mapping[str, Report]) -> dict[str, Restoring]:
        before, self._restores = self._restores, {}
        for worker, report in reports.items():
            for labels, value in report.now.named("restore_remaining_events"):
                if value:
                    place = (worker, labels["table"], labels["partition"])
                    self._restores[place] = _Restore.after(before.get(place), value, report.seconds)
        tables = dict.fromkeys(table for _, table, _ in self._restores)
        return {table: _together(r for (_, name, _), r in self._restores.items() if name == table) for table in tables}


@dataclass(frozen=True)
class _Restore:
    """Of one partition: records left, the most that were, and how many are read a second."""

    left: float
    most: float
    rate: float

    @classmethod
    def after(cls, before: _Restore | None, left: float, seconds: float) -> _Restore:
        if before is None:
            return cls(left, left, 0.0)
        return cls(left, max(left, before.most), max(0.0, before.left - left) / seconds if seconds else 0.0)


def _together(restores: Iterable[_Restore]) -> Restoring:
    every = list(restores)
    left, rate = sum(r.left for r in every), sum(r.rate for r in every)
    return Restoring(int(left), int(sum(r.most for r in every)), left / rate if rate else None)


def _sums(reports: Iterable[Report], name: str, label: str) -> defaultdict[str, float]:
    """A gauge over all workers, by one of its labels."""
    sums: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        for labels, value in report.now.named(name):
            sums[labels[label]] += value
    return sums


def _rates(reports: Iterable[Report], name: str, label: str | None) -> defaultdict[str, float] | None:
    """A counter's growth a second, by one of its labels; None before anybody was asked twice."""
    rates: defaultdict[str, float] = defaultdict(float)
    known = False
    for grown, seconds in _grown(reports):
        known = True
        for labels, value in grown.named(name):
            rates[labels[label] if label else ""] += value / seconds
    return rates if known else None


def _percentiles(reports: Iterable[Report], name: str, stream: str) -> Percentiles:
    buckets: defaultdict[float, float] = defaultdict(float)
    for grown, _ in _grown(reports):
        for labels, value in grown.named(f"{name}_bucket"):
            if labels["stream"] == stream:
                buckets[float(labels["le"])] += value
    return Percentiles(quantile(0.5, buckets), quantile(0.99, buckets))


def _grown(reports: Iterable[Report]) -> Iterator[tuple[Samples, float]]:
    return ((report.grown, report.seconds) for report in reports if report.grown is not None)
