"""Windows of the newest events of a key."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from operators.columns.grouping import Floats, Groups, Ints
from operators.columns.history import key_slices, newest, newest_lists
from operators.operator import Batch, Field, Layout, Ring, RingView, Shape, State
from operators.windows.aggregate import Aggregate, Mask, Parts, pick, put
from operators.windows.window import Window


@dataclass(frozen=True)
class Moves:
    """What moves a key's window at each event: the input that ``enters`` and the one that ``leaves``, (N, ...).

    It is 0 that leaves while the window fills; the keys had ``before`` (G,) events.
    """

    groups: Groups
    before: Ints
    length: int
    enters: Floats
    leaves: Floats

    @cached_property
    def ordinals(self) -> Ints:
        """Each event's number among all of its key's, from 1: (N,)."""
        return self.groups.ordinals(self.before)

    @cached_property
    def full(self) -> Mask:
        """Whether an input leaves at all: (N,)."""
        return self.ordinals > self.length

    @cached_property
    def number(self) -> Floats:
        """How many inputs are in the window then: (N,)."""
        return np.minimum(self.ordinals, self.length).astype(float)

    @property
    def fresh(self) -> Ints:
        """The groups that had no events before."""
        return np.flatnonzero(self.before == 0)

    def any(self, events: Mask) -> Mask:
        """Whether it is so at any event of a group, for any element of a vector: (N, ...) to (G,)."""
        found = events.any(axis=tuple(range(1, events.ndim)))
        return np.bincount(self.groups.segment[found], minlength=len(self.groups.start)) > 0

    def greatest(self, least: Floats, numbers: Floats) -> Floats:
        """The greatest of each group's numbers, (N, ...) to (G, ...), or ``least`` if that is greater."""
        if len(numbers) == 0:
            return least
        return np.maximum(least, np.maximum.reduceat(numbers, self.groups.start))


class Sliding(Aggregate):
    """An aggregate that can also be moved on by what enters and what leaves, if not always with all digits."""

    @abstractmethod
    def fields(self, shape: Shape) -> tuple[Field, ...]:
        """What is kept of a window to move it on."""

    @abstractmethod
    def slide(self, state: State, moves: Moves, *, each: bool) -> tuple[Parts | None, Mask]:
        """Move what is kept on; what is in the window after each event, and which groups (G,) lost digits of that.

        Without ``each`` there may be nothing for the events.
        """

    @abstractmethod
    def settle(self, state: State, groups: Ints, windows: Floats, inside: Mask) -> None:
        """Keep these groups' windows (c, g, ...), oldest first; of them only what is ``inside`` (c, g) counts."""

    @abstractmethod
    def kept(self, state: State, number: Floats) -> Parts:
        """What is in the windows, which have so many inputs (G,)."""


@dataclass(frozen=True)
class EventWindow(Window):
    """The newest ``length`` inputs.

    A window is moved on from event to event. Where that would lose digits, the run of the key is cut into blocks as
    long as the window, so that any window is the end of one and the beginning of the next (van Herk; Gil and Werman).
    """

    aggregate: Sliding
    length: int

    def layout(self, shape: Shape) -> Layout:
        """The count, what is kept to move the window on, and the window."""
        fields = (Field("count", dtype="<i8"), *self.aggregate.fields(shape))
        return Layout(fields, (Ring("value", self.length, shape),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Parts | None:
        """Move the window over the batch; what is in it after each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        moves = self._moves(state.rings["value"], batch, before)
        parts, doubtful = self.aggregate.slide(state, moves, each=each)
        which = np.flatnonzero(doubtful)
        for some in key_slices(len(which), self.length):
            self._afresh(state, moves, which[some], parts)
        return parts if each else None

    def read(self, state: State) -> Parts:
        """What is in the window of each key."""
        return self.aggregate.kept(state, np.minimum(state["count"], self.length).astype(float))

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "window": [oldest, ..., newest]}``."""
        windows = newest_lists(state.rings["value"], state["count"])
        return [{"count": n, "window": window} for n, window in zip(state["count"].tolist(), windows, strict=True)]

    def _moves(self, ring: RingView, batch: Batch, before: Ints) -> Moves:
        """What enters and leaves: in the slot that an input is to have is the one that leaves, or still 0."""
        groups, column, length = batch.groups, batch.columns["value"], self.length
        leaves = ring.inputs(groups.places(ring.rows, before, length, ring.stride))
        if groups.longest > length:
            in_batch = np.flatnonzero(groups.position >= length)
            leaves[in_batch] = column[in_batch - length]
        return Moves(groups, before, length, column, leaves)

    def _afresh(self, state: State, moves: Moves, which: Ints, parts: Parts | None) -> None:
        """Put the windows of these groups together from blocks.

        The line of a key is the window that it had, one block, and then its run, filled up to whole blocks.
        """
        groups, length = moves.groups, self.length
        old, ring = moves.before[which], state.rings["value"]
        count = groups.count[which]
        blocks = 1 - (-count // length)
        start = length * (np.cumsum(blocks) - blocks)
        rank = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        events, at = np.repeat(groups.start[which], count) + rank, np.repeat(start + length, count) + rank
        line = np.zeros((length * int(blocks.sum()), *moves.enters.shape[1:]))
        inside = np.zeros(len(line), bool)
        line[at], inside[at] = moves.enters[events], True
        place = start[:, None] + np.arange(length)
        line[place] = newest(RingView(ring.array, ring.rows[which]), old, length)
        inside[place] = np.arange(length) >= length - old[:, None]
        if parts is not None:
            lifted = self.aggregate.where(inside, self.aggregate.lift(line))
            ends = self._through_blocks(lifted, slice(None, None, -1))
            first = at - length + 1
            ends = self.aggregate.where(first % length > 0, pick(ends, first))
            beginnings = pick(self._through_blocks(lifted, slice(None)), at)
            put(parts, events, self.aggregate.combine(ends, beginnings))
        place += count[:, None]
        self.aggregate.settle(state, which, line[place].swapaxes(0, 1), inside[place].T)

    def _through_blocks(self, parts: Parts, direction: slice) -> Parts:
        """What the inputs of each block come to so far, going through it in that direction."""
        blocks = (part.reshape((-1, self.length, *part.shape[1:])).swapaxes(0, 1)[direction] for part in parts)
        running = self.aggregate.running(tuple(blocks))
        return tuple(part[direction].swapaxes(0, 1).reshape((-1, *part.shape[2:])) for part in running)
