"""Cumulative sums that tell when the mean of a key's events has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.arithmetic import alike, choose, divide, plain
from operators.columns.grouping import Floats
from operators.columns.parallel_scan import Parts, scan
from operators.columns.scan import add_sums, running_sums, two_sum
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Shape, State
from operators.options import number


@dataclass(frozen=True, kw_only=True)
class Cusum(Operator):
    """The two-sided cumulative sum control chart of a number, or of a vector element by element.

        up_i = max(0, up_{i-1} + x_i - m - k),  down_i = max(0, down_{i-1} + m - x_i - k)

    Parameters: ``value``, the field; ``target``, m, the value that is in order: left out, it is the mean of all events
    up to this one (the test of Page and Hinkley); ``drift``, k, at least 0: what is tolerated at each event, half of
    the shift that shall be found; ``threshold``, h: with it the read-out has a third part.
    The read-out is ``{"up": ..., "down": ...}``, and with a threshold ``"alarm"``: 1 where ``up`` is above it, -1 where
    ``down`` is, else 0; of both the greater one decides. The sums go on after an alarm, which lasts until they fall.
    State: the count, both sums, and the sum of what the events are beyond the target, each compensated, 1 + 6d numbers;
    without a target they are taken beyond the first event, d more.
    References: Page, Continuous inspection schemes, Biometrika 41 (1954); Hinkley, Biometrika 58 (1971).
    """

    value: FieldSpec
    target: float | None = None
    drift: float = 0.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target is not None:
            number("target", self.target, "a number")
        if number("drift", self.drift, _DRIFT) < 0:
            raise OperatorError("drift", f"found {self.drift}, expected {_DRIFT}")
        if self.threshold is not None and number("threshold", self.threshold, _THRESHOLD) <= 0:
            raise OperatorError("threshold", f"found {self.threshold}, expected {_THRESHOLD}")

    @property
    def algebra(self) -> Algebra:
        """Ordered around a target; none around the mean, which is another one if there were events before."""
        return "none" if self.target is None else "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, both sums side by side, and the sum of what the events are beyond the target or the first one."""
        shape = shapes["value"]
        both = (2, *shape)
        beyond = (Field("beyond", shape), Field("beyond_lost", shape))
        first = (Field("first", shape),) if self.target is None else ()
        return Layout((Field("count", dtype="<i8"), Field("sums", both), Field("lost", both), *beyond, *first))

    def fold(self, state: State, batch: Batch, *, each: bool) -> dict[str, Floats] | None:
        """Fold the batch; the sums after each event."""
        groups = batch.groups
        moves = self._moves(state, batch)
        total, floor = scan(groups, _followed, (moves, np.zeros_like(moves)), each=each)
        key, newest = (groups.segment, groups.last) if each else (slice(None), slice(None))
        sums, lost = _moved(state["sums"][key], state["lost"][key], total, floor)
        state["sums"], state["lost"] = sums[newest], lost[newest]
        return self._parts(sums + lost) if each else None

    def read(self, state: State, query: Floats | None = None) -> dict[str, Floats]:
        """The sums, which begin at 0."""
        return self._parts(state["sums"] + state["lost"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "target": m, "up": ..., "down": ...}``."""
        columns = {"count": state["count"], "target": self._target(state), **self.read(state)}
        rows = zip(*map(plain, columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def merge(self, state: State, other: State) -> None:
        """Around a target: let the other one's events follow.

        From a sum they lead to the one that they give alone or, if that is greater, to the sum with all that they add.
        """
        if self.target is None:
            super().merge(state, other)
        beyond = other["beyond"] + other["beyond_lost"]
        total = _sides(beyond) - alike(self.drift * other["count"], state["sums"])
        state["sums"], state["lost"] = _moved(state["sums"], state["lost"], total, other["sums"] + other["lost"])
        add_sums(state["beyond"], state["beyond_lost"], other["beyond"], other["beyond_lost"])
        state["count"] += other["count"]

    def _moves(self, state: State, batch: Batch) -> Floats:
        """What each event adds to either sum, (N, 2, ...). It joins the count and the mean."""
        groups, column = batch.groups, batch.columns["value"]
        before = state["count"].copy()
        state["count"] += groups.count
        if self.target is not None:
            beyond = column - self.target
            running_sums(groups, state["beyond"], state["beyond_lost"], beyond, each=False)
            return _sides(beyond) - self.drift
        start = column[groups.start]
        state["first"] = choose(before == 0, start, state["first"])
        beyond = column - state["first"][groups.segment]
        sums = running_sums(groups, state["beyond"], state["beyond_lost"], beyond, each=True)
        assert sums is not None
        return _sides(beyond - divide(sums[0] + sums[1], groups.ordinals(before))) - self.drift

    def _target(self, state: State) -> Floats:
        if self.target is not None:
            return np.full_like(state["beyond"], self.target)
        return state["first"] + divide(state["beyond"] + state["beyond_lost"], state["count"])

    def _parts(self, sums: Floats) -> dict[str, Floats]:
        up, down = sums[:, 0], sums[:, 1]
        if self.threshold is None:
            return {"up": up, "down": down}
        alarm = np.where(np.maximum(up, down) > self.threshold, np.where(up >= down, 1.0, -1.0), 0.0)
        return {"up": up, "down": down, "alarm": alarm}


_DRIFT = "a number of at least 0"
_THRESHOLD = "a number above 0"


def _sides(beyond: Floats) -> Floats:
    """What is up for the one sum is down for the other, (N, 2, ...)."""
    return np.stack([beyond, -beyond], axis=1)


def _followed(older: Parts, newer: Parts) -> Parts:
    """From a sum g events lead to max(floor, g + total): so do some events and then others."""
    (total, floor), (more, new_floor) = older, newer
    return total + more, np.maximum(new_floor, floor + more)


def _moved(high: Floats, low: Floats, total: Floats, floor: Floats) -> tuple[Floats, Floats]:
    """The compensated sums after events that lead from g to max(floor, g + total)."""
    sums, error = two_sum(high, total)
    lost = low + error
    above = sums + lost > floor
    return np.where(above, sums, floor), np.where(above, lost, 0.0)
