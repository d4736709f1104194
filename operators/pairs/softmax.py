"""Softmax attention over the newest rows of each key: in one level, or in several that a query sees at once."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats, Groups, Ints, group
from operators.operator import Batch, Readout, State
from operators.pairs.key_value import Attention

_GATHERED = 1 << 18
"""Numbers gathered at once: few enough to stay in the cache."""

_SHORTEST, _LONGEST = 16, 64
"""Events of a key taken at once, if it has so many, which share what is gathered: about as many as rows are seen."""


@dataclass(frozen=True)
class Rows:
    """m rows for each of g keys: keys (g, m, d_k), values (g, m, d_v); ``seen`` (g, L, m) by which of L queries."""

    keys: Floats
    values: Floats
    seen: npt.NDArray[np.bool_]


def attention(query: Floats, places: Sequence[Rows]) -> Floats:
    """The attention of L queries of each of g keys, (g, L, d_k), over the rows they see: (g, L, d_v); NaN over none.

    The greatest score is taken off before the exponentials, so that none overflows.
    """
    scores = np.concatenate([query @ rows.keys.swapaxes(1, 2) for rows in places], axis=2)
    scores[~np.concatenate([rows.seen for rows in places], axis=2)] = -np.inf
    scores /= math.sqrt(query.shape[2])
    scores -= scores.max(axis=2, keepdims=True)
    weights = np.exp(scores, out=scores)
    weights /= weights.sum(axis=2, keepdims=True)
    readouts: Floats = weights @ np.concatenate([rows.values for rows in places], axis=1)
    return readouts


@dataclass(frozen=True)
class Level:
    """The newest rows of each key, numbered from 0 by key: old ones, and those that a batch adds.

    ``old`` are keys (R, length, d_k) and values (R, length, d_v): row number n of group g is in slot ``n % length`` of
    ``at[g]``, for n below ``before[g]``. ``new`` are keys (M, d_k) and values (M, d_v) that follow, sorted by group;
    ``start[g]`` is where those of group g begin.
    """

    old: tuple[Floats, Floats]
    at: Ints
    before: Ints
    new: tuple[Floats, Floats]
    start: Ints

    @property
    def length(self) -> int:
        """How many rows of a key are kept."""
        return int(self.old[0].shape[1])

    def rows(self, groups: Ints, since: Ints, end: Ints) -> Iterator[Rows]:
        """The rows numbered from ``since`` up to ``end``, not with it, (g, L), for queries of these groups (g,)."""
        before = self.before[groups]
        first = np.maximum(since[:, 0], before)
        span = int((end[:, -1] - first).max())
        if span <= 0 or (since[:, 0] < before).any():
            number = before[:, None] - 1 - (before[:, None] - 1 - np.arange(self.length)) % self.length
            keys, values = (part[self.at[groups]] for part in self.old)
            yield Rows(keys, values, _seen(number, since, end))
        if span > 0 and len(self.new[0]) > 0:
            number = first[:, None] + np.arange(span)
            place = self.start[groups, None] + number - before[:, None]
            keys, values = (part.take(place, axis=0, mode="clip") for part in self.new)
            yield Rows(keys, values, _seen(number, since, end))

    def push(self, end: Ints) -> None:
        """Put the newest of the new rows where the oldest of the old ones were; group g has ``end[g]`` rows then."""
        fresh = np.minimum(end - self.before, self.length)
        key = np.repeat(np.arange(len(end)), fresh)
        number = np.arange(len(key)) + np.repeat(end - np.cumsum(fresh), fresh)
        place = self.start[key] + number - self.before[key]
        for old, new in zip(self.old, self.new, strict=True):
            old[self.at[key], number % self.length] = new[place]


@dataclass(frozen=True, kw_only=True)
class SoftmaxAttention(Attention):
    """A memory of rows, in levels, that are read by softmax attention over all of them.

    The last level are the newest pairs, which are in the rings; those before it are fields of the state.
    """

    @abstractmethod
    def levels(self, state: State, before: Ints, batch: Batch | None) -> Sequence[Level]:
        """The levels of keys that had ``before`` (G,) pairs, with what a batch adds."""

    @abstractmethod
    def spans(self, end: Ints) -> Sequence[tuple[Ints, Ints]]:
        """By level, the rows that a query sees when its key has had ``end`` pairs: from a number up to another."""

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Take the batch into the levels; the read-out at each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        levels = self.levels(state, before, batch)
        needed = each or self.readout == "before"
        readouts = self.read_outs(levels, before, batch, each=each) if needed else None
        for level, (_, end) in zip(levels[:-1], self.spans(state["count"])[:-1], strict=True):
            level.push(end)
        return self.results(state, batch, readouts, each=each)

    def read_outs(self, levels: Sequence[Level], before: Ints, batch: Batch, *, each: bool) -> Floats:
        """The read-out at each sorted event, (N, d_v); without ``each`` at least at the last one of each key.

        No read-out needs the one before it, so pieces of a long run lie side by side like runs of many keys. They do so
        in the same way with ``each`` and without: a read-out is the same bits both times.
        """
        groups, queries = batch.groups, self.queries(batch)
        rows = sum(level.length for level in levels)
        pieces, owner = _pieces(groups, min(max(rows, _SHORTEST), _LONGEST))
        end = groups.ordinals(before) - (self.readout == "before")
        result = np.zeros_like(batch.columns["value"])
        for block in pieces.blocks:
            readouts = np.zeros((*block.events.shape, result.shape[1]))
            for part in self._chunks(levels, len(block.groups), len(block.events)):
                events, keys = block.events[:, part], owner[block.groups[part]]
                if each or (events[block.last[part], np.arange(len(keys))] == groups.last[keys]).any():
                    ends = end[events[0], None] + np.arange(len(events))
                    readouts[:, part] = self._attention(levels, keys, queries[events.T], ends).swapaxes(0, 1)
            block.put(readouts, result)
        return result

    def attend(self, state: State, query: Floats) -> Floats:
        """Attention over all levels."""
        count = state["count"]
        levels = self.levels(state, count, None)
        keys = np.arange(len(count))
        result = np.empty((len(count), levels[0].old[1].shape[2]))
        for part in self._chunks(levels, len(count), 1):
            result[part] = self._attention(levels, keys[part], query[part, None], count[part, None])[:, 0]
        return result

    def _attention(self, levels: Sequence[Level], groups: Ints, query: Floats, end: Ints) -> Floats:
        spans = zip(levels, self.spans(end), strict=True)
        return attention(query, [rows for level, span in spans for rows in level.rows(groups, *span)])

    def _chunks(self, levels: Sequence[Level], keys: int, length: int) -> Iterator[slice]:
        """Cut so many keys into slices of which the rows that ``length`` queries see fit the cache."""
        rows = sum(level.length for level in levels) + length
        step = max(1, _GATHERED // (rows * sum(part.shape[2] for part in levels[0].old)))
        for begin in range(0, keys, step):
            yield slice(begin, min(begin + step, keys))


def window(state: State, before: Ints, batch: Batch | None) -> Level:
    """The level of the newest pairs, which are in the rings."""
    rings = state.rings["key"], state.rings["value"]
    old = rings[0].array, rings[1].array
    if batch is None:
        return Level(old, rings[0].rows, before, (old[0][0, :0], old[1][0, :0]), before)
    new = batch.columns["key"], batch.columns["value"]
    return Level(old, rings[0].rows, before, new, batch.groups.start)


def _pieces(groups: Groups, length: int) -> tuple[Groups, Ints]:
    """All runs cut into pieces of so many events, as groups of their own, and the group that each comes from."""
    _, pieces = group(np.cumsum(groups.position % length == 0))
    return pieces, groups.segment[pieces.start]


def _seen(number: Ints, since: Ints, end: Ints) -> npt.NDArray[np.bool_]:
    seen: npt.NDArray[np.bool_] = number[:, None] >= since[:, :, None]
    seen &= number[:, None] < end[:, :, None]
    return seen
