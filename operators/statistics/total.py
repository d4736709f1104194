"""What follows from the count and the sum of all events of a key."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from operators.columns.arithmetic import plain
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import add_sums, running_sums
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, Shape, State


@dataclass(frozen=True, kw_only=True)
class Total(Operator):
    """A compensated sum of a number, or of a vector element by element, and the number of events."""

    value: FieldSpec

    measure: ClassVar[str]
    """What :meth:`export` calls the result."""

    @abstractmethod
    def result(self, total: Floats, count: Ints) -> Floats:
        """The result of the sum (N, ...) of so many events (N,)."""

    @property
    def algebra(self) -> Algebra:
        """A group: counts and sums add up."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and the compensated sum."""
        shape = shapes["value"]
        return Layout((Field("count", dtype="<i8"), Field("sum", shape), Field("lost", shape)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Add the batch to the sum; the result after each event."""
        before = state["count"].copy()
        running = running_sums(batch.groups, state["sum"], state["lost"], batch.columns["value"], each=each)
        state["count"] += batch.groups.count
        if running is None:
            return None
        total, lost = running
        return self.result(total + lost, batch.groups.ordinals(before))

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The latest result."""
        return self.result(state["sum"] + state["lost"], state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """The count and the result: ``{"count": n, "sum": s}`` or ``{"count": n, "mean": m}``."""
        rows = zip(state["count"].tolist(), plain(self.read(state)), strict=True)
        return [{"count": count, self.measure: result} for count, result in rows]

    def merge(self, state: State, other: State) -> None:
        """Add counts and sums."""
        state["count"] += other["count"]
        add_sums(state["sum"], state["lost"], other["sum"], other["lost"])

    def retract(self, state: State, batch: Batch) -> None:
        """Take the events out of count and sum."""
        state["count"] -= batch.groups.count
        running_sums(batch.groups, state["sum"], state["lost"], -batch.columns["value"], each=False)
