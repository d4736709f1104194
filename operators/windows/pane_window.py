"""Windows of event time kept as panes: short spans of time, of which only what their inputs come down to is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np

from operators.columns.grouping import Floats, Ints, group
from operators.columns.history import key_slices
from operators.operator import Batch, Field, Layout, Shape, State
from operators.windows.aggregate import Aggregate, Parts, pick, put, spread
from operators.windows.window import MICROSECONDS, Clock, ClockWindow, Leaving, microseconds

Cells = tuple[Ints, Ints] | EllipsisType
"""Groups and slots of panes, in step; or all panes, (G, slots)."""


@dataclass(frozen=True)
class PaneWindow(ClockWindow):
    """The inputs of the newest ``span`` microseconds, in so many ``panes``.

    The window is an approximation: its older end goes from pane to pane. Pane k has the times in (k - 1, k], in lengths
    of a pane, so that no input in the window is older than ``span``; with ``closed`` it has those in [k, k + 1), and
    there is one pane more, so that none is missing that is not. Either is exact when the newest time is a pane's edge.
    """

    aggregate: Aggregate
    span: int
    panes: int
    closed: bool

    def layout(self, shape: Shape) -> Layout:
        """The clock in panes, and of each pane how many inputs it has and what they come down to."""
        own = (Field(name, (self._slots, *shape)) for name in self.aggregate.names)
        return Layout((*self.clock_fields, Field("number", (self._slots,)), *own))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Parts | None:
        """Let panes go, and add the batch to the others; what is in the window after each event."""
        aggregate, inputs = self.aggregate, self.aggregate.lift(batch.columns["value"])
        before = state["newest"].copy()
        clock = Clock.move(state, batch.groups, self._pane(batch.time), self._slots)
        gone, pane = self._passed(before, state["newest"])
        cells = gone, pane % self._slots
        old = self._at(state, cells)
        self._put(state, cells, aggregate.nothing(len(gone), old))
        result = None
        if each:
            some = np.flatnonzero(old[0])
            leaving = Leaving(pick(old, some), gone[some], clock.leaving(pane[some], gone[some]))
            result = clock.after_each(aggregate, inputs, self.read(state), [leaving])
        self._add(state, clock, inputs)
        return result

    def read(self, state: State) -> Parts:
        """All panes together."""
        parts = self._at(state, ...)
        result = self.aggregate.nothing(len(parts[0]), tuple(part[:, 0] for part in parts))
        for keys in key_slices(len(parts[0]), self._slots):
            put(result, keys, self.aggregate.total(tuple(part[keys].swapaxes(0, 1) for part in parts)))
        return result

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "late": n, "window": [{"since": time, "number": n, ...}, ...]}``, the oldest pane first."""
        rows = []
        for g, newest in enumerate(state["newest"].tolist()):
            pane = np.arange(newest - self._slots + 1, newest + 1)
            pane = pane[state["number"][g, pane % self._slots] > 0]
            parts = self._at(state, (np.full(len(pane), g), pane % self._slots))
            since = (pane - (not self.closed)) * (self.span / self.panes / MICROSECONDS)
            columns = {"since": since, "number": parts[0].astype(np.int64), **self.aggregate.described(parts)}
            lines = zip(*(column.tolist() for column in columns.values()), strict=True)
            window = [dict(zip(columns, line, strict=True)) for line in lines]
            rows.append({"count": int(state["count"][g]), "late": int(state["late"][g]), "window": window})
        return rows

    def merge(self, state: State, other: State) -> None:
        """Add the panes of both that the newer time of the two has not left behind."""
        before = state["newest"].copy()
        super().merge(state, other)
        kept = []
        for panes, newest in ((state, before), (other, other["newest"])):
            inside = np.ones(panes["number"].shape, bool)
            gone, pane = self._passed(newest, state["newest"])
            inside[gone, pane % self._slots] = False
            kept.append(self.aggregate.where(inside, self._at(panes, ...)))
        self._put(state, ..., self.aggregate.combine(*kept))

    @property
    def _slots(self) -> int:
        """How many panes there are. Pane k is in the slot k modulo that."""
        return self.panes + self.closed

    def _pane(self, time: Floats) -> Ints:
        """The pane of each time, in whole numbers, so that no rounding puts it on the wrong side of an edge."""
        spans, rest = np.divmod(microseconds(time), self.span)
        part = rest * self.panes
        within: Ints = part // self.span if self.closed else -(-part // self.span)
        return spans * self.panes + within

    def _passed(self, before: Ints, newest: Ints) -> tuple[Ints, Ints]:
        """The panes that leave when the newest one, which was ``before`` (G,), changes: their groups and numbers."""
        many = np.minimum(newest - before, self._slots)
        gone = np.repeat(np.arange(len(many)), many)
        nth = np.arange(len(gone)) - np.repeat(np.cumsum(many) - many, many)
        return gone, before[gone] - self._slots + 1 + nth

    def _add(self, state: State, clock: Clock, inputs: Parts) -> None:
        """Add the inputs that are still in the window after the batch to their panes."""
        segment = clock.groups.segment
        events = np.flatnonzero(clock.stay(clock.ticks, segment))
        distinct, groups = group(segment[events] * self._slots + clock.ticks[events] % self._slots)
        new = self.aggregate.totals(groups, pick(inputs, events[groups.order]))
        cells = distinct // self._slots, distinct % self._slots
        self._put(state, cells, self.aggregate.combine(self._at(state, cells), new))

    def _at(self, state: State, cells: Cells) -> Parts:
        """What is in these panes."""
        number, *own = (state[name][cells] for name in ("number", *self.aggregate.names))
        return self.aggregate.where(number > 0, (number, *own))

    def _put(self, state: State, cells: Cells, parts: Parts) -> None:
        """Store what is in these panes: 0 if there is nothing, since what that comes down to need not be finite."""
        some = parts[0] > 0
        for name, part in zip(("number", *self.aggregate.names), parts, strict=True):
            state[name][cells] = np.where(spread(some, part), part, 0.0)
