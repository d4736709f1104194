"""Windows of event time kept as the raw inputs and their times: exact, for as many inputs as there is room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.grouping import Ints
from operators.columns.history import key_slices, newest
from operators.operator import Batch, Layout, Ring, Shape, State
from operators.windows.aggregate import Aggregate, Mask, Parts, pick, put
from operators.windows.window import Clock, ClockWindow, Leaving, microseconds


@dataclass(frozen=True)
class TimeWindow(ClockWindow):
    """Of the newest ``room`` inputs to arrive, those that are less than ``life`` microseconds older than the newest."""

    aggregate: Aggregate
    life: int
    room: int

    def layout(self, shape: Shape) -> Layout:
        """The clock in microseconds, and the newest inputs with their times."""
        return Layout(self.clock_fields, (Ring("value", self.room, shape), Ring("time", self.room)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Parts | None:
        """Move the clock; what is in the window after each event.

        The input in the first place of a ring makes room for the first event, the next one for the second, and so on.
        """
        groups, before = batch.groups, state["count"].copy()
        clock = Clock.move(state, groups, microseconds(batch.time), self.life)
        if not each:
            return None
        inputs = self.aggregate.lift(batch.columns["value"])
        base = self.aggregate.nothing(len(before), inputs)
        leaving = [Leaving(self.aggregate.nothing(0, inputs), groups.start[:0], groups.start[:0])]
        for keys in key_slices(len(before), self.room):
            ticks, there, parts = self._laid_out(state, before, keys)
            place, key = np.arange(self.room), np.arange(keys.start, keys.stop)[:, None]
            stay = there & (place >= groups.count[key]) & clock.stay(ticks, key)
            put(base, keys, self.aggregate.total(self.aggregate.where(stay.T, parts)))
            line, place = np.nonzero(there & ~stay)
            group = line + keys.start
            end = np.minimum(clock.leaving(ticks[line, place], group), groups.start[group] + place)
            some = np.flatnonzero(end > groups.start[group])
            leaving.append(Leaving(pick(parts, (place[some], line[some])), group[some], end[some]))
        return clock.after_each(self.aggregate, inputs, base, leaving, self.room)

    def read(self, state: State) -> Parts:
        """What is in the window of each key."""
        count, ring = state["count"], state.rings["value"]
        result = self.aggregate.nothing(len(count), self.aggregate.lift(ring.array[:0, 0]))
        for keys in key_slices(len(count), self.room):
            ticks, there, parts = self._laid_out(state, count, keys)
            inside = there & (state["newest"][keys, None] - ticks < self.life)
            put(result, keys, self.aggregate.total(self.aggregate.where(inside.T, parts)))
        return result

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "late": n, "window": [x, ...], "times": [t, ...]}`` of the inputs in it, as they arrived."""
        rows = []
        for g, count in enumerate(state["count"].tolist()):
            one = slice(g, g + 1)
            ticks, there, _ = self._laid_out(state, state["count"], one)
            inside = (there & (state["newest"][g] - ticks < self.life))[0]
            window, times = (newest(state.rings[role], state["count"], self.room, one)[0] for role in ("value", "time"))
            lists = {"window": window[inside].tolist(), "times": times[inside].tolist()}
            rows.append({"count": count, "late": int(state["late"][g]), **lists})
        return rows

    def _laid_out(self, state: State, count: Ints, keys: slice) -> tuple[Ints, Mask, Parts]:
        """The rings of these keys after ``count`` (G,) inputs, oldest first.

        Their times in microseconds and whether there is an input at all, (g, room), and each input, (room, g, ...).
        """
        ticks = microseconds(newest(state.rings["time"], count, self.room, keys))
        there = np.arange(self.room) >= self.room - count[keys, None]
        inputs = newest(state.rings["value"], count, self.room, keys)
        flat = self.aggregate.lift(inputs.reshape((-1, *inputs.shape[2:])))
        parts = tuple(part.reshape((*there.shape, *part.shape[1:])).swapaxes(0, 1) for part in flat)
        return ticks, there, parts
