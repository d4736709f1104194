"""How many standard deviations an event is from the mean of its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from operators.columns.arithmetic import flat
from operators.columns.double_double import DoubleDouble
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import previous
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, Shape, State
from operators.options import one_of
from operators.statistics.moments import sums_of
from operators.statistics.var import Std


@dataclass(frozen=True, kw_only=True)
class ZScore(Operator):
    """How unusual each event is: its distance from the mean in standard deviations, element by element for a vector.

        z_n = (x_n - m_{n-1}) / s_{n-1},  or with itself among them (x_n - m_n) / s_n

    Parameters: ``value``, the field; ``readout``: ``"before"`` measures an event by those before it, ``"after"`` by
    those and itself; ``ddof``, the degrees of freedom of the standard deviation; ``min_count``, how many events there
    must be to measure by. An event that is among those it is measured by stretches the measure: its score is at most
    (n - 1) / sqrt(n), so of ten events none can be 3 deviations off. Therefore ``"before"`` is the default. Where s is
    0, all events so far being equal, there is no result.
    State: that of ``std`` and the newest event, 1 + 6d numbers; with ``readout = "before"`` also the sums before it, 4d
    more.
    Reference: Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, The American Statistician 37 (1983).
    """

    value: FieldSpec
    readout: Literal["before", "after"] = "before"
    ddof: int = 1
    min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("readout", self.readout, ("before", "after"))
        _ = self.memory

    @cached_property
    def memory(self) -> Std:
        """What events are measured by."""
        return Std(value=self.value, ddof=self.ddof, min_count=self.min_count)

    @property
    def algebra(self) -> Algebra:
        """Ordered: the result is that of the newest event."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The fields of the standard deviation, the newest event, and the sums before it."""
        fields = self.memory.layout(shapes).fields
        earlier = [replace(field, name=f"earlier_{field.name}") for field in fields if field.name in ("sums", "lost")]
        newest = Field("newest", shapes["value"])
        return Layout((*fields, newest, *(earlier if self.readout == "before" else ())))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Add the batch to the sums; the score of each event."""
        groups, column = batch.groups, batch.columns["value"]
        ordinals, old = groups.ordinals(state["count"]) if each else None, sums_of(state)
        sums = self.memory.add(state, batch, each=each or self.readout == "before")
        state["newest"] = column[groups.last]
        if sums is not None and self.readout == "before":
            pairs = ((sums.high, old.high), (sums.low, old.low))
            sums = DoubleDouble(*(previous(groups, after.T, before.T).T for after, before in pairs))
            state["earlier_sums"], state["earlier_lost"] = sums.high.T[groups.last], sums.low.T[groups.last]
        if sums is None or ordinals is None:
            return None
        first = np.repeat(state["first_value"], groups.count, axis=0)
        return self._scores(column, first, sums, ordinals)

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The score of the newest event."""
        return self._scores(state["newest"], state["first_value"], self._measure(state), state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "mean": m, "std": s, "newest": x}``."""
        rows = zip(self.memory.export(state), state["newest"].tolist(), strict=True)
        return [{**memory, "newest": newest if memory["count"] else None} for memory, newest in rows]

    def merge(self, state: State, other: State) -> None:
        """Add the sums of the other, whose newest event becomes the newest."""
        more = other["count"] > 0
        if self.readout == "before":
            self.memory.adopt(state, other)
            moved = self.memory.moved(state, other, self._measure(other), np.maximum(other["count"] - 1, 0))
            earlier = sums_of(state) + moved
            for name, part in (("earlier_sums", earlier.high), ("earlier_lost", earlier.low)):
                state[name][more] = part.T[more]
        self.memory.merge(state, other)
        state["newest"][more] = other["newest"][more]

    def _measure(self, state: State) -> DoubleDouble:
        """The sums that the newest event is measured by."""
        return sums_of(state, "" if self.readout == "after" else "earlier_")

    def _scores(self, newest: Floats, first: Floats, sums: DoubleDouble, ordinals: Ints) -> Floats:
        """The scores of events (N, ...) that are the ``ordinals``-th of their keys, by the sums (2d, N)."""
        count = ordinals - 1 if self.readout == "before" else ordinals
        shapes = (newest.shape[1:],)
        mean, spread = self.memory.central(sums, count, shapes)
        y = DoubleDouble.sum(flat(newest).T, -flat(first).T)
        deviation = self.memory.result(spread, count, shapes)
        scores: Floats = (y - mean).rounded.T.reshape(newest.shape) / np.where(deviation > 0, deviation, np.nan)
        scores[count < self.min_count] = np.nan
        return scores
