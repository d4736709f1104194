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
    ``column[order] = sorted`` go there and back; ``segment`` (N,) is each sorted event's group; ``position`` (N,) its
    place within the group, from 0; ``last`` (G,) the sorted index of each group's last event.
    """

    order: Ints
    start: Ints
    count: Ints
    segment: Ints
    position: Ints
    last: Ints

    def ordinals(self, before: Ints) -> Ints:
        """Each event's number among all of its key's, from 1, when the keys had ``before`` (G,) events: (N,)."""
        return before[self.segment] + self.position + 1

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
    ordered = rows[order]
    first = np.empty(len(ordered), bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    start = np.flatnonzero(first)
    count = np.diff(np.append(start, len(ordered)))
    segment = np.cumsum(first) - 1
    position = np.arange(len(ordered)) - start[segment]
    return ordered[start], Groups(order, start, count, segment, position, start + count - 1)
