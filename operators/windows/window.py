"""Windows that move over the events of a key, and the clock of those that are cut by event time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from operators.columns.grouping import Floats, Groups, Ints
from operators.columns.scan import running
from operators.operator import Batch, Field, Layout, Shape, State
from operators.windows.aggregate import Aggregate, Mask, Parts, joined, pick

MICROSECONDS = 1_000_000
"""In a second. Times count to the microsecond: as doubles, two that are 0.1 s apart hardly ever are just that."""

_NEVER = -(2**62)
_FURTHEST = float(2**61)


class Window(ABC):
    """Which inputs of a key are in the window, and what they come down to."""

    @abstractmethod
    def layout(self, shape: Shape) -> Layout:
        """What is stored for a key."""

    @abstractmethod
    def fold(self, state: State, batch: Batch, *, each: bool) -> Parts | None:
        """Move the window over the batch; with ``each``, what is in it after every event."""

    @abstractmethod
    def read(self, state: State) -> Parts:
        """What is in the window of each key."""

    @abstractmethod
    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """The memory of each key as plain numbers and lists."""


class ClockWindow(Window):
    """A window of event time. It ends at the newest time of the key's events, which never goes back."""

    clock_fields = (
        Field("count", dtype="<i8"),
        Field("newest", dtype="<i8", initial=_NEVER),
        Field("late", dtype="<i8"),
    )
    """The number of events, the newest time in ticks, and how many events came when their time had left the window."""

    def merge(self, state: State, other: State) -> None:
        """Take the clock and the counts of the other one; of what is not in rings, subclasses take the rest."""
        state["count"] += other["count"]
        state["late"] += other["late"]
        state["newest"] = np.maximum(state["newest"], other["newest"])


class Leaving(NamedTuple):
    """Inputs from before a batch that leave with an event of it: their groups and the events ``end``, (m,)."""

    parts: Parts
    group: Ints
    end: Ints


@dataclass(frozen=True)
class Clock:
    """The newest time of each key while a batch moves it on.

    ``ticks`` (N,) are the times of the events, ``latest`` (N,) is the newest of the key after each of them. An input
    has left the window when the newest time is ``life`` ticks after its own, or more.
    """

    groups: Groups
    ticks: Ints
    latest: Ints
    life: int

    @classmethod
    def move(cls, state: State, groups: Groups, ticks: Ints, life: int) -> Clock:
        """Move the clocks of a state on, and count its events and those that come too late."""
        clock = cls(groups, ticks, running(np.maximum, groups, state["newest"], ticks), life)
        state["count"] += groups.count
        state["late"] += np.bincount(groups.segment[clock.late], minlength=len(groups.start))
        state["newest"] = clock.latest[groups.last]
        return clock

    @property
    def late(self) -> Mask:
        """Whether the window had already passed each event when it came, (N,)."""
        return self.latest - self.ticks >= self.life

    def stay(self, ticks: Ints, group: Ints) -> Mask:
        """Whether inputs of these times and groups are still in the window when the whole batch has come."""
        return self.latest[self.groups.last][group] - ticks < self.life

    def leaving(self, ticks: Ints, group: Ints) -> Ints:
        """The first event of the run with which such inputs are no longer in the window; the run's end if none is."""
        behind = self.groups.last[group] + 1
        some = np.flatnonzero(~self.stay(ticks, group))
        due, low, high = ticks[some] + self.life, self.groups.start[group[some]], behind[some] - 1
        for _ in range(int(self.groups.count.max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            gone = self.latest[middle] >= due
            low, high = np.where(gone, low, np.minimum(middle + 1, high)), np.where(gone, middle, high)
        behind[some] = high
        return behind

    def after_each(
        self,
        aggregate: Aggregate,
        inputs: Parts,
        base: Parts,
        leaving: Sequence[Leaving],
        room: int | None = None,
    ) -> Parts:
        """What is in the window after each event, (N, ...).

        That is what stays all the while, ``base`` (G, ...); of what is ``leaving`` as much as has not left yet; and of
        the batch's own ``inputs`` those that are not too late, each for ``room`` events at most.
        """
        new = np.flatnonzero(~self.late)
        own = self.leaving(self.ticks[new], self.groups.segment[new])
        begin = np.concatenate([*(self.groups.start[old.group] for old in leaving), new])
        end = np.concatenate([*(old.end for old in leaving), own if room is None else np.minimum(own, new + room)])
        some = np.flatnonzero(begin < end)
        sets = pick(joined([*(old.parts for old in leaving), pick(inputs, new)]), some)
        inside = aggregate.while_inside(len(self.ticks), begin[some], end[some], sets)
        return aggregate.combine(pick(base, self.groups.segment), inside)


def microseconds(time: Floats) -> Ints:
    """Times in seconds as whole microseconds."""
    return np.rint(np.clip(time * MICROSECONDS, -_FURTHEST, _FURTHEST)).astype(np.int64)
