"""The first and the last of all events of a key, by their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats
from operators.columns.scan import previous, running
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, Shape, State


@dataclass(frozen=True, kw_only=True)
class End(Operator):
    """The event at one end of time; of a vector, the whole of it."""

    value: FieldSpec

    choose: ClassVar[np.ufunc]
    """Of two times, or of two places in order of arrival, the one nearer to that end."""
    replaces: ClassVar[np.ufunc]
    """Whether an event of one time takes the place of an earlier arrival of another."""
    nothing: ClassVar[float]
    """The time that gives way to any other."""

    @property
    def algebra(self) -> Algebra:
        """A monoid: of two ends one is that of both. Of equal times the other state's count as later arrivals."""
        return "monoid"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, and the event's time and value."""
        return Layout((Field("count", dtype="<i8"), Field("time"), Field("value", shapes["value"])))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Compare the batch with the event; the value after each event."""
        results = self._running(state, batch) if each else None
        groups, time = batch.groups, batch.time
        end = self.choose.reduceat(time, groups.start)
        elsewhere = len(time) if self.nothing > 0 else -1
        places = np.where(time == np.repeat(end, groups.count), np.arange(len(time)), elsewhere)
        nearer = self.replaces(end, self._times(state))
        state["time"][nearer] = end[nearer]
        state["value"][nearer] = batch.columns["value"][self.choose.reduceat(places, groups.start)[nearer]]
        state["count"] += groups.count
        return results

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The value of the event."""
        value: Floats = state["value"].copy()
        value[state["count"] == 0] = np.nan
        return value

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "time": t, "value": x}``."""
        columns = (state["count"].tolist(), state["time"].tolist(), state["value"].tolist())
        rows = [{"count": count, "time": time, "value": value} for count, time, value in zip(*columns, strict=True)]
        return [row if row["count"] else {"count": 0, "time": None, "value": None} for row in rows]

    def merge(self, state: State, other: State) -> None:
        """Compare both events."""
        nearer = (other["count"] > 0) & self.replaces(other["time"], self._times(state))
        for name in ("time", "value"):
            state[name][nearer] = other[name][nearer]
        state["count"] += other["count"]

    def _running(self, state: State, batch: Batch) -> Floats:
        """The value after each event."""
        groups, old = batch.groups, self._times(state)
        ends = running(self.choose, groups, old, batch.time)
        new = self.replaces(batch.time, previous(groups, ends, old))
        at = np.maximum.accumulate(np.where(new, np.arange(len(new)), -1))
        in_batch = at >= np.repeat(groups.start, groups.count)
        results: Floats = np.repeat(state["value"], groups.count, axis=0)
        results[in_batch] = batch.columns["value"][at[in_batch]]
        return results

    def _times(self, state: State) -> Floats:
        """The times of the events, where there is none yet one that gives way to any other."""
        return np.where(state["count"] > 0, state["time"], self.nothing)


@dataclass(frozen=True, kw_only=True)
class First(End):
    """The first event by its time, however late it came.

        x = x_j,  t_j = min(t_1, ..., t_n)

    Parameters: ``value``, the field. Of events of the same time it is the one that came first.
    State: the count, and the event's time and value, 2 + d numbers.
    """

    choose: ClassVar[np.ufunc] = np.minimum
    replaces: ClassVar[np.ufunc] = np.less
    nothing: ClassVar[float] = np.inf


@dataclass(frozen=True, kw_only=True)
class Last(End):
    """The last event by its time: one that comes late does not replace it.

        x = x_j,  t_j = max(t_1, ..., t_n)

    Parameters: ``value``, the field. Of events of the same time it is the one that came last.
    State: the count, and the event's time and value, 2 + d numbers.
    """

    choose: ClassVar[np.ufunc] = np.maximum
    replaces: ClassVar[np.ufunc] = np.greater_equal
    nothing: ClassVar[float] = -np.inf
