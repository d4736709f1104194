"""Group a batch by key, once, for all operators of a table, and lay its runs side by side for vector arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_RADIX = 1 << 16
_WIDE = 200
"""A wave of so many events is quicker than to go along their runs."""
_FEW = 12
"""So few waves are quicker in any case."""
_FILLING = 1000
"""To compute so many events for nothing is quicker than to begin with runs of another length."""


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
class Rest:
    """Runs of similar length, (g, L), one behind the other from ``place`` on.

    They belong to the groups ``begin : begin + g`` of :class:`Waves`. A run shorter than L is filled up, behind its own
    events, with events of other groups.
    """

    begin: int
    place: int
    shape: tuple[int, int]


@dataclass(frozen=True)
class Waves:
    """The events of a batch rank by rank: first the first event of every key, then the second ones, and so on.

    Place i of this order is the sorted event ``events[i]``. The groups come with the longest runs first, ``groups``
    (G,), so that a wave is the events of as many of them as have one of that rank: wave r is the places
    ``edges[r] : edges[r + 1]``. Where few groups have many more events there are no more waves: what is left of their
    runs stands behind, as ``rests``. ``last`` (G,) is the place of each group's last event, ``own`` are the places that
    are no filling (None: all are).
    """

    groups: Ints
    events: Ints
    edges: list[int]
    rests: list[Rest]
    last: Ints
    own: Ints | None

    def put(self, results: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Results of all places in the order of the sorted events, (N, ...)."""
        return results.take(self._places, axis=0)

    @cached_property
    def _places(self) -> Ints:
        """The place of each sorted event, (N,)."""
        own = np.arange(len(self.events)) if self.own is None else self.own
        places = np.empty_like(own)
        places[self.events.take(own)] = own
        return places


@dataclass(frozen=True)
class Groups:
    """N events sorted by key: group g is the run ``start[g] : start[g] + count[g]`` of the sorted events.

    ``order`` (N,) is the arrival index of each sorted event, so ``sorted = column[order]`` and
    ``column[order] = sorted`` go there and back. What not every operator needs is made when it is first asked for.
    """

    order: Ints
    start: Ints
    count: Ints

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

    def ordinals(self, before: Ints) -> Ints:
        """Each event's number among all of its key's, from 1, when the keys had ``before`` (G,) events: (N,)."""
        return np.arange(1, len(self.order) + 1) + np.repeat(before - self.start, self.count)

    @cached_property
    def waves(self) -> Waves:
        """All events rank by rank."""
        return _waves(self.start, self.count)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All runs, in blocks of lengths up to 1, 2, 4, 8, ...: at most half of a block is filling."""
        return tuple(_blocks(np.arange(len(self.start)), self.start, self.count, len(self.order)))

    def pieces(self, length: int, width: int) -> Iterator[Block]:
        """All runs in blocks of at most ``length`` events of ``width`` groups.

        The pieces of a longer run come one after the other.
        """
        for done in range(0, int(self.count.max(initial=0)), length):
            longer = np.flatnonzero(self.count > done)
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


def _waves(start: Ints, count: Ints) -> Waves:
    """The runs ``start[g] : start[g] + count[g]`` of the sorted events rank by rank."""
    groups = stable_order(count.max(initial=0) - count)
    start, count = start.take(groups), count.take(groups)
    depth, longest = (int(count[i]) if len(count) > i else 0 for i in (_WIDE - 1, 0))
    if longest <= depth + _FEW:
        depth = longest
    width = np.searchsorted(-count, -np.arange(depth + 1))
    edges = np.concatenate([[0], np.cumsum(width[:-1])])
    last = edges[np.minimum(count, depth) - 1] + np.arange(len(count))
    events = np.concatenate([start[:0], *(start[:size] for size in width[:-1].tolist())])
    events += np.repeat(np.arange(depth), width[:-1])
    left = count[: int(width[-1])] - depth
    if len(left) == 0:
        return Waves(groups, events, edges.tolist(), [], last, None)
    parts, own, rests = [events], [np.ones(len(events), bool)], list(_rests(left, len(events)))
    for rest in rests:
        runs, length = slice(rest.begin, rest.begin + rest.shape[0]), rest.shape[1]
        parts.append((np.arange(length) + start[runs, None] + depth).reshape(-1))
        own.append((np.arange(length) < left[runs, None]).reshape(-1))
        last[runs] = rest.place + length * np.arange(rest.shape[0]) + left[runs] - 1
    events = np.minimum(np.concatenate(parts), count.sum() - 1)
    return Waves(groups, events, edges.tolist(), rests, last, np.flatnonzero(np.concatenate(own)))


def _rests(length: Ints, place: int) -> Iterator[Rest]:
    """Cut runs, the longest first, where filling them up would take too many events; they stand from ``place`` on."""
    begin = 0
    while begin < len(length):
        longest = int(length[begin])
        filled = longest * np.arange(1, len(length) - begin + 1)
        dense = np.append(filled <= 1.25 * np.cumsum(length[begin:]) + _FILLING, False)
        rest = Rest(begin, place, (int(np.argmin(dense)), longest))
        yield rest
        begin, place = begin + rest.shape[0], place + rest.shape[0] * longest


def stable_order(rows: Ints) -> Ints:
    """Indices that sort ``rows`` (non-negative, below 2**32) and keep the order of arrival among equals.

    NumPy sorts 16-bit integers by radix: two passes of that beat one comparison sort of 64-bit integers many times.
    """
    if len(rows) == 0 or int(rows.max()) < _RADIX:
        return np.argsort(rows.astype(np.uint16), kind="stable")
    low = np.argsort((rows & 0xFFFF).astype(np.uint16), kind="stable")
    high = (rows >> 16).astype(np.uint16)[low]
    return low[np.argsort(high, kind="stable")]


def group(rows: Ints) -> tuple[Ints, Groups]:
    """Group events by state row. Returns the distinct rows, ascending, and the grouping in that order."""
    order = stable_order(rows)
    ordered = rows.take(order)
    first = np.empty(len(ordered), bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    start = np.flatnonzero(first)
    return ordered[start], Groups(order, start, np.diff(start, append=len(ordered)))
