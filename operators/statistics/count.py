"""How many events a key has had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from operators.columns.grouping import Floats, Ints
from operators.operator import Algebra, Batch, Field, Layout, Operator, Shape, State


@dataclass(frozen=True, kw_only=True)
class Count(Operator):
    """The number of events.

        n_i = n_{i-1} + 1,  n_0 = 0

    It reads no field. State: one integer.
    """

    roles: ClassVar[tuple[str, ...]] = ()

    @property
    def algebra(self) -> Algebra:
        """A group."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count."""
        return Layout((Field("count", dtype="<i8"),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Ints | None:
        """Count the batch; the count after each event."""
        result = batch.groups.ordinals(state["count"]) if each else None
        state["count"] += batch.groups.count
        return result

    def read(self, state: State, query: Floats | None = None) -> Ints:
        """The count."""
        return state["count"].copy()

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n}``."""
        return [{"count": count} for count in state["count"].tolist()]

    def merge(self, state: State, other: State) -> None:
        """Add the counts."""
        state["count"] += other["count"]

    def retract(self, state: State, batch: Batch) -> None:
        """Count backwards."""
        state["count"] -= batch.groups.count
