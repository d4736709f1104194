"""The mean of the newest events of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.arithmetic import divide
from operators.grouping import Floats, Groups, Ints
from operators.history import newest, newest_lists
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, Ring, RingView, Shape, State
from operators.options import whole
from operators.scan import accumulate, running_sums, two_sum

_TRUSTED = 2.0**20
"""A running sum is good while it is this many times what its roundings lost: far below 1e-12 even after 1e9 events."""


@dataclass(frozen=True, kw_only=True)
class MovingMean(Operator):
    """The mean of the newest ``window`` events of a number, or of a vector element by element.

        m_i = (x_{i-c+1} + ... + x_i) / c

    Parameters: ``value``, the field; ``window``, c, in events; ``min_count``, how many events there must be for a
    result. Before the window is full the mean is of the events that are there.
    State: the last c inputs and their compensated sum, 1 + (c + 3)d numbers. The sum gains the new event and loses the
    one that leaves. Where that cancels so much (a spike of 1e300 leaves beside a 1) that what the roundings lost could
    matter, the window is summed afresh, so no digit is lost for good.
    References: van Herk 1992 and Gil, Werman 1993 (sums of all windows without subtraction).
    """

    value: FieldSpec
    window: int
    min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("window", self.window, "of events")
        whole("min_count", self.min_count, "of events", at_most=self.window)

    @property
    def algebra(self) -> Algebra:
        """Ordered: the newest events are all there is."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the compensated sum of the window and the greatest of what it lost, and the window."""
        shape = shapes["value"]
        fields = (Field("count", dtype="<i8"), Field("sum", shape), Field("lost", shape), Field("drift", shape))
        return Layout(fields, (Ring("value", self.window, shape),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Move the window over the batch; its mean after each event."""
        groups, column, ring = batch.groups, batch.columns["value"], state.rings["value"]
        before = state["count"].copy()
        state["count"] += groups.count
        change, error = two_sum(column, -self._leaving(batch, before, ring))
        running = running_sums(groups, state["sum"], state["lost"], change, error, each=True)
        assert running is not None
        high, low = running
        for g in self._doubtful(state, groups, high, low):
            events = slice(int(groups.start[g]), int(groups.last[g]) + 1)
            past = newest(ring, before, self.window, slice(g, g + 1))[0]
            high[events], low[events] = window_sums(np.concatenate([past, column[events]]), self.window)
            state["sum"][g], state["lost"][g] = high[groups.last[g]], low[groups.last[g]]
            state["drift"][g] = np.abs(low[groups.last[g]])
        return self._mean(high + low, groups.ordinals(before)) if each else None

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The mean of the window."""
        return self._mean(state["sum"] + state["lost"], state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "window": [oldest, ..., newest]}``."""
        windows = newest_lists(state.rings["value"], state["count"])
        return [{"count": n, "window": window} for n, window in zip(state["count"].tolist(), windows, strict=True)]

    def _mean(self, total: Floats, count: Ints) -> Floats:
        return divide(total, np.where(count < self.min_count, 0, np.minimum(count, self.window)))

    def _doubtful(self, state: State, groups: Groups, high: Floats, low: Floats) -> list[int]:
        """The groups with a sum that what its roundings lost, at its greatest, may have spoilt; keeps that in mind."""
        if len(groups.start) == 0:
            return []
        state["drift"] = np.maximum(state["drift"], np.maximum.reduceat(np.abs(low), groups.start))
        doubtful = np.minimum.reduceat(np.abs(high + low), groups.start) < _TRUSTED * state["drift"]
        return np.flatnonzero(doubtful.reshape(len(doubtful), -1).any(axis=1)).tolist()

    def _leaving(self, batch: Batch, before: Ints, ring: RingView) -> Floats:
        """The input that leaves the window as each event enters it, (N, ...); 0 while it fills."""
        groups, column = batch.groups, batch.columns["value"]
        leaving = np.zeros_like(column)
        in_batch = np.flatnonzero(groups.position >= self.window)
        leaving[in_batch] = column[in_batch - self.window]
        nth = before[groups.segment] + groups.position
        in_ring = np.flatnonzero((nth >= self.window) & (groups.position < self.window))
        leaving[in_ring] = ring.array[ring.rows[groups.segment[in_ring]], nth[in_ring] % self.window]
        return leaving


def window_sums(line: Floats, window: int) -> tuple[Floats, Floats]:
    """Compensated sums, as high and low, of all windows of a line (M, ...) that end behind its first ``window`` inputs.

    The line is cut into blocks as long as the window; any window is the end of one and the beginning of the next.
    """
    size = len(line)
    blocks = np.concatenate([line, np.zeros((-size % window, *line.shape[1:]))])
    blocks = blocks.reshape((-1, window, *line.shape[1:])).swapaxes(0, 1)
    zero = np.zeros(blocks.shape[1:])
    beginnings = [sums.swapaxes(0, 1).reshape((-1, *line.shape[1:])) for sums in accumulate(zero, zero, blocks)]
    ends = [sums[::-1].swapaxes(0, 1).reshape((-1, *line.shape[1:])) for sums in accumulate(zero, zero, blocks[::-1])]
    last = np.arange(window, size)
    first = last - window + 1
    whole_block = (first % window == 0).reshape((-1, *(1,) * (line.ndim - 1)))
    end_high, end_low = (np.where(whole_block, 0.0, end[first]) for end in ends)
    high, lost = two_sum(end_high, beginnings[0][last])
    return high, end_low + beginnings[1][last] + lost
