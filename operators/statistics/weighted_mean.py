"""The weighted mean of all events of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.arithmetic import divide, plain, times
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import add_sums, running_sums
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Shape, State
from operators.options import whole


@dataclass(frozen=True, kw_only=True)
class WeightedMean(Operator):
    """The mean of a number, or of a vector element by element, in which each event has the weight that it brings.

        m_n = (w_1 x_1 + ... + w_n x_n) / (w_1 + ... + w_n)

    Parameters: ``value``, the field; ``weight``, the field of w, a number; ``min_count``, how many events there must be
    for a result. Where the weights sum to 0 there is none.
    State: the count and the compensated sums of w x and of w, 3 + 2d numbers.
    References: West, Updating Mean and Variance Estimates, Communications of the ACM 22 (1979); Neumaier,
    Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
    """

    value: FieldSpec
    weight: FieldSpec
    min_count: int = 1

    roles: ClassVar[tuple[str, ...]] = ("value", "weight")

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("min_count", self.min_count, "of events")

    @property
    def algebra(self) -> Algebra:
        """A group: counts and sums add up."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and both sums. Raises OperatorError for a weight that is a vector."""
        if shapes["weight"] != ():
            raise OperatorError("weight", f"found the vector {self.weight!r}, expected the name of a number")
        shape = shapes["value"]
        sums = (Field("sum", shape), Field("lost", shape), Field("weight", ()), Field("weight_lost", ()))
        return Layout((Field("count", dtype="<i8"), *sums))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Add the batch to the sums; the mean after each event."""
        before = state["count"].copy()
        totals = self._add(state, batch, batch.columns["weight"], each=each)
        state["count"] += batch.groups.count
        return None if totals is None else self._result(*totals, batch.groups.ordinals(before))

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The mean."""
        return self._result(state["sum"] + state["lost"], state["weight"] + state["weight_lost"], state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "weight": w_1 + ... + w_n, "mean": m}``."""
        weight = state["weight"] + state["weight_lost"]
        means = plain(divide(state["sum"] + state["lost"], weight))
        rows = zip(state["count"].tolist(), weight.tolist(), means, strict=True)
        return [{"count": count, "weight": sum_of_weights, "mean": mean} for count, sum_of_weights, mean in rows]

    def merge(self, state: State, other: State) -> None:
        """Add counts and sums."""
        state["count"] += other["count"]
        for high, low in _SUMS:
            add_sums(state[high], state[low], other[high], other[low])

    def retract(self, state: State, batch: Batch) -> None:
        """Take the events out of count and sums."""
        state["count"] -= batch.groups.count
        self._add(state, batch, -batch.columns["weight"], each=False)

    def _add(self, state: State, batch: Batch, weight: Floats, *, each: bool) -> tuple[Floats, Floats] | None:
        """Add w x and w to the sums; with ``each`` both sums after every event."""
        totals = []
        for (high, low), terms in zip(_SUMS, (times(weight, batch.columns["value"]), weight), strict=True):
            running = running_sums(batch.groups, state[high], state[low], terms, each=each)
            if running is not None:
                totals.append(running[0] + running[1])
        return (totals[0], totals[1]) if each else None

    def _result(self, total: Floats, weight: Floats, count: Ints) -> Floats:
        return divide(total, np.where(count < self.min_count, 0.0, weight))


_SUMS = (("sum", "lost"), ("weight", "weight_lost"))
