"""The mean of all events of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.arithmetic import divide
from operators.grouping import Floats
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, Shape, State
from operators.scan import add_sums, running_sums


@dataclass(frozen=True, kw_only=True)
class Mean(Operator):
    """The cumulative mean of a number, or of a vector element by element.

        m_n = m_{n-1} + (x_n - m_{n-1}) / n = (x_1 + ... + x_n) / n

    Parameters: ``value``, the field.
    State: the count and a compensated sum, 1 + 2d numbers. The recursion drifts (1e-8 after 1e9 events); the sum, with
    what its roundings lost kept beside it, stays within one rounding of the exact mean.
    Reference: Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
    """

    value: FieldSpec

    @property
    def algebra(self) -> Algebra:
        """A group: counts and sums add up."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and the compensated sum."""
        shape = shapes["value"]
        return Layout((Field("count", dtype="<i8"), Field("sum", shape), Field("lost", shape)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Add the batch to the sum; the mean after each event."""
        groups = batch.groups
        running = running_sums(groups, state["sum"], state["lost"], batch.columns["value"], each=each)
        before = state["count"].copy()
        state["count"] += groups.count
        if running is None:
            return None
        total, lost = running
        return divide(total + lost, groups.ordinals(before))

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The mean."""
        return divide(state["sum"] + state["lost"], state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "mean": m}``."""
        return [
            {"count": count, "mean": mean if count else None}
            for count, mean in zip(state["count"].tolist(), self.read(state).tolist(), strict=True)
        ]

    def merge(self, state: State, other: State) -> None:
        """Add counts and sums."""
        state["count"] += other["count"]
        add_sums(state["sum"], state["lost"], other["sum"], other["lost"])

    def retract(self, state: State, batch: Batch) -> None:
        """Take the events out of count and sum."""
        state["count"] -= batch.groups.count
        running_sums(batch.groups, state["sum"], state["lost"], -batch.columns["value"], each=False)
