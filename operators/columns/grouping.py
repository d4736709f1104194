"""Group a batch by key, once, for all operators of a table, and lay its runs side by side for vector arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.waves import Floats, Ints, Waves, lay_waves, stable_order

__all__ = ["Block", "Floats", "Groups", "Ints", "group"]


@dataclass(frozen=True)
class Block:
    """Runs of similar length side by side: ``events[r, i]`` is the sorted index of event r of group ``groups[i]``.

    A run shorter than the block is filled up, behind its own events, with events of other groups. ``inside`` are the
    places of the flattened block that are not filling (None: all of them), ``own`` the sorted events there; ``last``
    (g,) is each run's last rank. So what is computed rank by rank from the first never sees the filling.
    """

    groups: Ints
    events: Ints
    inside: Ints | None
    own: Ints
    last: Ints

    def put(self, results: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Store the block's results, (L, g, ...), with the sorted events they belong to: ``out`` is (N, ...)."""
        flat = results.reshape((-1, *results.shape[2:]))
        out[self.own] = flat if self.inside is None else flat[self.inside]

    def final(self, results: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The results of each run's last event, (g, ...)."""
        return results[self.last, np.arange(len(self.last))]


@dataclass(frozen=True)
class Groups:
    """N events sorted by key: group g is the run ``start[g] : start[g] + count[g]`` of the sorted events.

    ``order`` (N,) is the arrival index of each sorted event, so ``sorted = column[order]`` and
    ``column[order] = sorted`` go there and back. What not every operator needs is made when it is first asked for.
    """

    order: Ints
    start: Ints
    count: Ints
    _waves: dict[int, Waves] = field(default_factory=dict, repr=False, compare=False)
    _places: dict[tuple[int, int], tuple[Ints, Ints, Ints]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def last(self) -> Ints:
        """The sorted index of each group's last event, (G,)."""
        return self.start + self.count - 1

    @cached_property
    def segment(self) -> Ints:
        """Each sorted event's group, (N,)."""
        return np.repeat(np.arange(len(self.start)), self.count)

    @cached_property
    def position(self) -> Ints:
        """Each sorted event's place within its group, from 0: (N,)."""
        return np.arange(len(self.order)) - np.repeat(self.start, self.count)

    @cached_property
    def age(self) -> Ints:
        """How many events of its group come after each sorted event: (N,)."""
        return np.repeat(self.last, self.count) - np.arange(len(self.order))

    def ordinals(self, before: Ints) -> Ints:
        """Each event's number among all of its key's, from 1, when the keys had ``before`` (G,) events: (N,)."""
        return np.arange(1, len(self.order) + 1) + np.repeat(before - self.start, self.count)

    def places(self, rows: Ints, before: Ints, length: int, stride: int) -> Ints:
        """Each event's place in rings of so many, when the keys had ``before`` (G,) events: (N,), not to be changed.

        The ring of each group's key, ``rows`` (G,), begins at ``row * stride``. Rings of one length have the same
        places, in all operators of a table that have seen the same events.
        """
        known = self._places.get((length, stride))
        if known is not None and np.array_equal(known[0], rows) and np.array_equal(known[1], before):
            return known[2]
        begin, first = rows * stride, before % length
        place = np.arange(len(self.order)) + np.repeat(begin + first - self.start, self.count)
        if (around := first + self.count > length).any():
            events = np.flatnonzero(np.repeat(around, self.count))
            its = begin[self.segment[events]]
            place[events] = its + (place[events] - its) % length
        self._places[length, stride] = rows, before, place
        return place

    @cached_property
    def longest(self) -> int:
        """How many events the largest group has."""
        return int(self.count.max(initial=0))

    def waves(self, numbers: int = 1) -> Waves:
        """All events rank by rank, for work on so many numbers of each."""
        if numbers not in self._waves:
            self._waves[numbers] = lay_waves(self.start, self.count, max(numbers, 1))
        return self._waves[numbers]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All runs, in blocks of lengths up to 1, 2, 4, 8, ...: at most half of a block is filling."""
        return tuple(_blocks(np.arange(len(self.start)), self.start, self.count, len(self.order)))

    def pieces(self, length: int, width: int) -> Iterator[Block]:
        """All runs in blocks of at most ``length`` events of ``width`` groups, those of like length together.

        The pieces of a longer run come one after the other.
        """
        by_count, counts = stable_order(self.count)
        for done in range(0, self.longest, length):
            longer = by_count[np.searchsorted(counts, done, side="right") :]
            for begin in range(0, len(longer), width):
                groups = longer[begin : begin + width]
                start, count = self.start[groups] + done, np.minimum(self.count[groups] - done, length)
                yield from _blocks(groups, start, count, len(self.order))


def _blocks(groups: Ints, start: Ints, count: Ints, total: int) -> Iterator[Block]:
    """Blocks of the runs ``start[i] : start[i] + count[i]``, which belong to ``groups[i]``, of ``total`` events."""
    size = np.frexp(count - 1.0)[1].astype(np.uint8)
    by_size = np.argsort(size, kind="stable")
    end = 0
    for members in np.bincount(size).tolist():
        if members == 0:
            continue
        begin, end = end, end + members
        run = by_size[begin:end]
        length = count[run]
        rank = np.arange(int(length.max()))[:, None]
        events = start[run] + rank
        if int(length.min()) == len(rank):
            yield Block(groups[run], events, None, events.reshape(-1), length - 1)
            continue
        inside = np.flatnonzero(rank < length)
        own = events.reshape(-1)[inside]
        yield Block(groups[run], np.minimum(events, total - 1), inside, own, length - 1)


def group(rows: Ints) -> tuple[Ints, Groups]:
    """Group events by state row. Returns the distinct rows, ascending, and the grouping in that order."""
    order, ordered = stable_order(rows)
    first = np.empty(len(ordered), bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    start = np.flatnonzero(first)
    count = np.empty_like(start)
    np.subtract(start[1:], start[:-1], out=count[:-1])
    count[-1:] = len(ordered) - start[-1:]
    return ordered.take(start).astype(np.int64), Groups(order, start, count)
