"""What tests of keys that go share: the log as one partition sees it, and what becomes of it, event by event."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from operators import Count, MovingMean, Operator, Sum
from operators.columns.grouping import Floats
from operators.operator import Batch, Field, Layout, Readout, Shape, State
from pipeline import App, Stream, Table
from pipeline.core.batch import WireBatch
from pipeline.core.partition import Cut, Identity, Partition

STREAM = Stream("s", topic="s", time="ts")
IDENTITY = Identity("streamfold/app/s/0", "source", {"t": "log"}, 0, 1_000_000)
REFUSED = 99.0


@dataclass(frozen=True, kw_only=True)
class Picky(Operator):
    """Counts, and raises on ``REFUSED``."""

    value: str

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("seen"),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        if (batch.columns["value"] == REFUSED).any():
            raise ArithmeticError
        state["seen"] += batch.groups.count
        return np.asarray(batch.groups.ordinals(np.zeros(len(batch.groups.start), np.int64)), float) if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return np.asarray(state["seen"], float)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"seen": float(seen)} for seen in state["seen"]]


OPERATORS: dict[str, Operator] = {
    "picky": Picky(value="x"),
    "n": Count(),
    "sum": Sum(value="x"),
    "last": MovingMean(value="x", window=200),
}


@dataclass(frozen=True)
class Sent:
    """An event of a key at a time; ``x`` is None for a null value."""

    key: str
    time: float
    x: float | None


@dataclass
class Exact:
    """What becomes of the log, one record after the other."""

    ttl: float | None = None
    max_keys: int | None = None
    seen: dict[str, tuple[float, list[float]]] = field(default_factory=dict)
    """By key, the clock at the last event (as marks have it) and the numbers; in the order of the last events."""
    out: list[tuple[str, int | None, Fraction | None]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    marks: list[tuple[float, int]] = field(default_factory=list)
    before: tuple[float, int] | None = None
    offsets: dict[str, int] = field(default_factory=dict)

    def take(self, offset: int, sent: Sent) -> None:
        if sent.x is None:
            if sent.key in self.seen:
                self.drop(sent.key, "null")
            return
        numbers = self.seen[sent.key][1] if sent.key in self.seen else []
        if sent.x == REFUSED:
            return
        self.pass_time(offset, sent.time)
        numbers = self.seen.pop(sent.key)[1] if sent.key in self.seen else []
        if not numbers and self.max_keys is not None and len(self.seen) >= self.max_keys:
            self.drop(next(iter(self.seen)), "max_keys")
        self.seen[sent.key] = (0.0, [*numbers, sent.x])
        self.offsets[sent.key] = offset
        self.out.append((sent.key, len(numbers) + 1, sum(map(Fraction, [*numbers, sent.x]))))  # type: ignore[arg-type]

    def pass_time(self, offset: int, time: float) -> None:
        """Time passes when two events in a row have reached it; a mark every 32nd of the ttl."""
        if self.ttl is not None and self.before is not None:
            now = min(time, self.before[0])
            if not self.marks or now >= self.marks[-1][0] + self.ttl / 32:
                self.marks.append((now, self.before[1]))
                for key in [key for key in self.seen if self.marked(self.offsets[key]) + self.ttl * 33 / 32 <= now]:
                    self.drop(key, "ttl")
        self.before = (time, offset)

    def marked(self, offset: int) -> float:
        return max((time for time, start in self.marks if start <= offset), default=self.marks[0][0])

    def drop(self, key: str, reason: str) -> None:
        del self.seen[key]
        self.out.append((key, None, None))
        self.reasons.append(reason)


class Log:
    """The topics of one partition: what was committed, and a worker that may be started anew from it."""

    def __init__(self, **options: Any) -> None:
        self.table = Table("t", stream=STREAM, **({"operators": OPERATORS, "on_null": "delete"} | options))
        self.records: dict[bytes, bytes | None] = {}
        self.out: list[tuple[str, Any]] = []
        self.reasons: list[str] = []
        self.refused = 0
        self.position = 0
        self.start()

    def start(self) -> None:
        """A new worker: its state is what the changelog has, compacted."""
        self.partition = Partition(App("app", tables=[self.table]), STREAM, 0, 1)
        changelog = self.partition.tables["t"].changelog
        items = list(self.records.items())
        for at in range(0, len(items), 7):
            part = items[at : at + 7]
            changelog.apply([key for key, _ in part], [value for _, value in part])
        changelog.finish()
        assert changelog.trouble is None
        if changelog.meta is not None:
            assert changelog.meta.keys == self.partition.tables["t"].state.live
        self.partition.resume(self.position, IDENTITY)

    def fold(self, sent: Sequence[Sent], start: int | None = None) -> None:
        first = self.partition.position if start is None else start
        self.partition.fold(
            WireBatch(
                "s",
                0,
                first,
                first + len(sent),
                [event.key.encode() for event in sent],
                [None if e.x is None else json.dumps({"x": e.x, "ts": e.time}).encode() for e in sent],
                range(first, first + len(sent)),
                [0] * len(sent),
            )
        )

    def commit(self) -> Cut:
        cut = self.partition.cut()
        self.position = cut.next_offset
        for append in cut.appends:
            if append.topic == "app-t-changelog":
                for key, value in zip(append.keys, append.values, strict=True):
                    self.records.pop(key or b"", None)  # the last one counts, at its own place
                    self.records[key or b""] = value
            elif append.topic == "app-t":
                records = zip(append.keys, append.values, strict=True)
                self.out += [((key or b"").decode(), value and json.loads(value)) for key, value in records]
            else:
                self.refused += len(append.values)
        self.reasons += [reason for (_, reason), n in cut.counts.dropped.items() for _ in range(n)]
        return cut

    def live(self) -> dict[str, list[object]]:
        """Every key's state, as HTTP would read it."""
        part = self.partition.tables["t"]
        keys = list(part.state.index)
        records = map(json.loads, part.records(part.state.index.rows(keys)))
        return {
            key.decode(): [record["n"], record["sum"], record["last"]]
            for key, record in zip(keys, records, strict=True)
        }


def expected(exact: Exact) -> dict[str, list[object]]:
    return {
        key: [len(numbers), float(sum(map(Fraction, numbers))), pytest.approx(float(np.mean(numbers)), abs=1e-12)]
        for key, (_, numbers) in exact.seen.items()
    }
