"""The least and the greatest of all events of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats
from operators.columns.scan import running
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, Shape, State
from operators.options import whole


@dataclass(frozen=True, kw_only=True)
class Extreme(Operator):
    """The one of all events that ``choose`` gives, element by element for a vector."""

    value: FieldSpec
    min_count: int = 1

    choose: ClassVar[np.ufunc]
    nothing: ClassVar[float]
    """What gives way to any number."""
    measure: ClassVar[str]
    """What :meth:`export` calls the result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("min_count", self.min_count, "of events")

    @property
    def algebra(self) -> Algebra:
        """A monoid: of two extremes one is that of both; but what was before it nobody knows."""
        return "monoid"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and the extreme."""
        return Layout((Field("count", dtype="<i8"), Field("extreme", shapes["value"])))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Compare the batch with the extreme; the extreme after each event."""
        groups, column, before = batch.groups, batch.columns["value"], state["count"].copy()
        old = self._extremes(state)
        state["count"] += groups.count
        if not each:
            state["extreme"] = self.choose(old, self.choose.reduceat(column, groups.start, axis=0))
            return None
        results = running(self.choose, groups, old, column)
        state["extreme"] = results[groups.last]
        results[groups.ordinals(before) < self.min_count] = np.nan
        return results

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The extreme."""
        result = state["extreme"].copy()
        result[state["count"] < self.min_count] = np.nan
        return result

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """The count and the extreme: ``{"count": n, "min": x}`` or ``{"count": n, "max": x}``."""
        rows = zip(state["count"].tolist(), state["extreme"].tolist(), strict=True)
        return [{"count": count, self.measure: extreme if count else None} for count, extreme in rows]

    def merge(self, state: State, other: State) -> None:
        """Compare both extremes."""
        extreme = self.choose(self._extremes(state), self._extremes(other))
        state["count"] += other["count"]
        extreme[state["count"] == 0] = 0.0
        state["extreme"] = extreme

    def _extremes(self, state: State) -> Floats:
        """The extremes, where there are no events yet such as give way to any number."""
        extremes: Floats = state["extreme"].copy()
        extremes[state["count"] == 0] = self.nothing
        return extremes


@dataclass(frozen=True, kw_only=True)
class Min(Extreme):
    """The least of all events, element by element for a vector.

        x = min(x_1, ..., x_n)

    Parameters: ``value``, the field; ``min_count``, how many events there must be for a result.
    State: the count and the least, 1 + d numbers.
    """

    choose: ClassVar[np.ufunc] = np.minimum
    nothing: ClassVar[float] = np.inf
    measure: ClassVar[str] = "min"


@dataclass(frozen=True, kw_only=True)
class Max(Extreme):
    """The greatest of all events, element by element for a vector.

        x = max(x_1, ..., x_n)

    Parameters: ``value``, the field; ``min_count``, how many events there must be for a result.
    State: the count and the greatest, 1 + d numbers.
    """

    choose: ClassVar[np.ufunc] = np.maximum
    nothing: ClassVar[float] = -np.inf
    measure: ClassVar[str] = "max"
