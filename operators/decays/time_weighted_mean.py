"""The mean over time of a value that is reported now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from operators.columns.arithmetic import choose, divide, plain, times
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import add_sums, running, running_sums
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Shape, State
from operators.options import one_of


@dataclass(frozen=True, kw_only=True)
class TimeWeightedMean(Operator):
    """The mean over event time of a number, or of a vector element by element: for sensors that report changes.

        m = integral of x(t) dt / (t_n - t_1)

    Parameters: ``value``, the field; ``method``, what x is between two events: ``"locf"``, the earlier one's value (the
    last observation is carried forward), which makes the area sum x_{j-1} (t_j - t_{j-1}); ``"linear"``, on the line
    from one to the other, sum (x_{j-1} + x_j) / 2 (t_j - t_{j-1}) (the trapezoidal rule).
    With ``"locf"`` the newest value has had no time yet: it counts from the next event on. As long as all events are at
    one time the mean is the newest value. Of events at one time the last one counts from then on.

    An event earlier than the newest so far is late: what it would have changed is summed up already. It changes nothing
    but ``late``, the number of such events, which ``publish = "state"`` shows.
    State: the count, the number of late events, the first and the newest time, the newest value and the compensated
    area, 4 + 3d numbers; with ``"linear"`` also the first value. A memory of events that all came at the newest time or
    after can be merged into it.
    Reference: Eckner, Algorithms for unevenly spaced time series: moving averages and other rolling operators (2012).
    """

    value: FieldSpec
    method: Literal["locf", "linear"] = "locf"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method", self.method, ("locf", "linear"))

    @property
    def algebra(self) -> Algebra:
        """Ordered: the areas of two stretches of time, and the one between them, add up."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The counts, both ends of the time, the newest value and the compensated area."""
        shape = shapes["value"]
        values = ("newest_value", "area", "lost", *(("first_value",) if self.method == "linear" else ()))
        counts = (Field("count", dtype="<i8"), Field("late", dtype="<i8"))
        return Layout((*counts, Field("first"), Field("newest"), *(Field(name, shape) for name in values)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Add the area between each event and the one before it; the mean after each event."""
        groups, column, start = batch.groups, batch.columns["value"], batch.groups.start
        fresh = state["count"] == 0
        state["count"] += groups.count
        state["first"] = np.where(fresh, batch.time[start], state["first"])
        if self.method == "linear":
            state["first_value"] = choose(fresh, column[start], state["first_value"])
        # A key's first event comes after itself: no time has passed since.
        newest = np.where(fresh, batch.time[start], state["newest"])
        value = choose(fresh, column[start], state["newest_value"])
        latest = running(np.maximum, groups, newest, batch.time)
        before = _shifted(latest, newest, start)
        on_time = batch.time >= before
        seen = np.maximum.accumulate(np.where(on_time, np.arange(len(column)), -1))
        values = choose(seen >= start[groups.segment], column[seen], value[groups.segment])
        area = times(latest - before, self._height(_shifted(values, value, start), values))
        sums = running_sums(groups, state["area"], state["lost"], area, each=each)
        state["late"] += groups.count - np.add.reduceat(on_time, start) if len(start) else 0
        state["newest"], state["newest_value"] = latest[groups.last], values[groups.last]
        return None if sums is None else _mean(sums[0] + sums[1], latest - state["first"][groups.segment], values)

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The mean from the first event to the newest."""
        value = choose(state["count"] > 0, state["newest_value"], np.nan)
        return _mean(state["area"] + state["lost"], state["newest"] - state["first"], value)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "late": l, "first": t_1, "newest": t_n, "value": x_n, "mean": m}``."""
        names = {"count": "count", "late": "late", "first": "first", "newest": "newest", "value": "newest_value"}
        columns = [*(state[field].tolist() for field in names.values()), plain(self.read(state))]
        return [dict(zip((*names, "mean"), row, strict=True)) for row in zip(*columns, strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Go on with a later stretch of time.

        Raises:
            OperatorError: the other one's first event is earlier than the newest here.
        """
        both = (state["count"] > 0) & (other["count"] > 0)
        if (both & (other["first"] < state["newest"])).any():
            raise OperatorError("type", "can't merge a time_weighted_mean that begins before the newest event here")
        if self.method == "linear":
            begin = other["first_value"]
            gap_height = self._height(state["newest_value"], begin)
            state["first_value"] = choose(state["count"] == 0, begin, state["first_value"])
        else:
            gap_height = state["newest_value"]
        gap = np.where(both, other["first"] - state["newest"], 0.0)
        add_sums(state["area"], state["lost"], times(gap, gap_height), np.zeros_like(gap_height))
        add_sums(state["area"], state["lost"], other["area"], other["lost"])
        state["first"] = np.where(state["count"] > 0, state["first"], other["first"])
        some = other["count"] > 0
        for name in ("newest", "newest_value"):
            state[name] = choose(some, other[name], state[name])
        for name in ("count", "late"):
            state[name] += other[name]

    def _height(self, earlier: Floats, later: Floats) -> Floats:
        """The mean value between two events."""
        return earlier if self.method == "locf" else earlier / 2 + later / 2


def _shifted(rows: Floats, initial: Floats, start: Ints) -> Floats:
    """What was there before each event: the row of the one before it, or what its group began with."""
    before = np.concatenate([rows[:1], rows[:-1]])
    before[start] = initial
    return before


def _mean(area: Floats, elapsed: Floats, value: Floats) -> Floats:
    """The area by the time; the value where there is none yet."""
    return choose(elapsed > 0, divide(area, elapsed), value)
