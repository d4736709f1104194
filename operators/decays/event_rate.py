"""How many events of a key come in a second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from operators.columns.arithmetic import plain
from operators.columns.epochs import epochs
from operators.columns.grouping import Floats, Ints
from operators.columns.parallel_scan import Parts, scan
from operators.columns.scan import running
from operators.decays.decaying import Decaying, grown
from operators.operator import Algebra, Batch, Field, Layout, OperatorError, Shape, State


@dataclass(frozen=True, kw_only=True)
class EventRate(Decaying):
    """The rate of events in event time, in events a second: of all of them, or exponentially decayed.

        r = (n - 1) / (t_max - t_min)
        r = (sum_j w_j - (1 + w_min) / 2) / ((1 - w_min) half_life / ln 2),  w_j = 2^(-(t_max - t_j) / half_life)

    It counts gaps between events, by the time that they take together: n events have n - 1 gaps. Decayed, a gap counts
    as much as its two ends on average, and time as the integral of the weight since the first event, so there is no
    bias at the start. Events at regular gaps d have the rate 1 / d but for a factor of 1 + (d / half_life)^2 / 25.
    Undefined until two events are a nanosecond apart. It is the rate as of the newest event: it doesn't fall while none
    come.

    Parameters: ``half_life``, a duration; or ``heads``, a list of them: the read-out is then a rate for each. Without
    either it is the rate of all events. It reads no field.
    State: the count, the first and the newest time, 3 numbers, and for each half-life the newest epoch and the
    compensated sum of w, 3 more. In whatever order events arrive, the state is the same (forward decay).
    Reference: Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009.
    """

    roles: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.half_life is not None and self.heads is not None:
            raise OperatorError("heads", "found heads beside half_life, expected one of them at most")

    @property
    def algebra(self) -> Algebra:
        """A monoid: the first time can't be taken back."""
        return "monoid"

    @cached_property
    def half_lives(self) -> Floats:
        """Of each head, in seconds; none without decay."""
        given = (self.half_life,) if self.half_life is not None else self.heads or ()
        return np.array(given, float)

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and both ends; by head the epoch and the sum of weights."""
        weights = self.weights() if len(self.half_lives) else ()
        return Layout((Field("count", dtype="<i8"), Field("first"), Field("newest"), *weights))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Count the batch; the rate as of the newest event so far, after each event."""
        groups = batch.groups
        before = state["count"].copy()
        state["count"] += groups.count
        ends = []
        for name, operation in _ENDS:
            start = np.where(before > 0, state[name], batch.time[groups.start])
            ends.append(running(operation, groups, start, batch.time))
            state[name] = ends[-1][groups.last]
        weights = self._weigh(state, batch, before, each=each) if len(self.half_lives) else None
        return self._rate(ends[0], ends[1], groups.ordinals(before), weights) if each else None

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The rate as of the newest event."""
        weights = state["weight"] + state["weight_lost"] if len(self.half_lives) else None
        return self._rate(state["first"], state["newest"], state["count"], weights)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "first": t_min, "newest": t_max, "rate": r}``."""
        names = ("count", "first", "newest")
        rows = zip(*(state[name].tolist() for name in names), plain(self.read(state)), strict=True)
        return [dict(zip((*names, "rate"), row, strict=True)) for row in rows]

    def merge(self, state: State, other: State) -> None:
        """Add the sums at the later epoch, and keep the outer ends."""
        if len(self.half_lives):
            kept, taken = self.meet(state, other)
            more = taken * (other["weight"] + other["weight_lost"])
            state["weight"], state["weight_lost"] = grown(kept, state["weight"], state["weight_lost"], more)
        for name, operation in _ENDS:
            its = np.where(other["count"] > 0, other[name], state[name])
            state[name] = np.where(state["count"] > 0, operation(state[name], its), its)
        state["count"] += other["count"]

    def _weigh(self, state: State, batch: Batch, before: Ints, *, each: bool) -> Floats:
        """Add to the sum of weights; returns it after each event, or after each key's last."""
        groups = batch.groups
        left, more = scan(groups, _followed, self.arrive(state, batch, before), each=each)
        key, newest = (groups.segment, groups.last) if each else (slice(None), slice(None))
        high, low = grown(left, state["weight"][key], state["weight_lost"][key], more)
        state["weight"], state["weight_lost"] = high[newest], low[newest]
        return high + low

    def _rate(self, first: Floats, newest: Floats, count: Ints, weights: Floats | None) -> Floats:
        """The rate of ``count`` (n,) events between these ends, whose weights (n, H) sum to this."""
        elapsed = np.where(newest - first < _TICK, np.nan, newest - first)
        if weights is None:
            return (count - 1) / elapsed
        half_lives, elapsed = self.half_lives, elapsed[:, None]
        oldest = np.exp2(-elapsed / half_lives)
        length = -np.expm1(-math.log(2) * elapsed / half_lives) * half_lives / math.log(2)
        gaps = weights / epochs(newest, half_lives)[1] - (1.0 + oldest) / 2
        return self.headed(gaps / length)


_TICK = 1e-9
_ENDS = (("first", np.minimum), ("newest", np.maximum))


def _followed(older: Parts, newer: Parts) -> Parts:
    """What is left of all before, and the sum of weights with what is left of the older ones."""
    return older[0] * newer[0], newer[0] * older[1] + newer[1]
