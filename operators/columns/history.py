"""The newest inputs of each key: what its ring holds, continued by what a batch brings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from operators.columns.grouping import Floats, Groups, Ints
from operators.operator import RingView

_STRETCH = 1 << 15
"""Inputs laid out at once: few enough to stay in the cache, enough to make the calls cheap."""


def newest(ring: RingView, count: Ints, reach: int, keys: slice = slice(None)) -> Floats:
    """The newest ``reach`` inputs of these keys, (g, reach, ...), oldest first, after ``count`` (G,) inputs.

    What was never there reads as 0.
    """
    rows, have = ring.rows[keys], count[keys]
    slots = ring.array[rows]
    length = slots.shape[1]
    slot = ((have - reach) % length)[:, None] + np.arange(reach)
    slot -= np.where(slot < length, 0, length)
    slot += length * np.arange(len(rows))[:, None]
    inputs: Floats = slots.reshape((-1, *slots.shape[2:])).take(slot, axis=0)
    short = np.flatnonzero(have < reach)
    partial = inputs[short]
    partial[np.arange(reach) < (reach - have[short])[:, None]] = 0.0
    inputs[short] = partial
    return inputs


def newest_lists(ring: RingView, count: Ints) -> list[list[object]]:
    """What each key's ring holds, oldest first, as plain lists."""
    length = ring.array.shape[1]
    inputs = newest(ring, count, length).tolist()
    return [line[max(length - have, 0) :] for line, have in zip(inputs, count.tolist(), strict=True)]


def earlier(ring: RingView, column: Floats, groups: Groups, before: Ints, *, events: Ints, lags: Ints) -> Floats:
    """The inputs that came so many before these of the sorted events, of the same key: (n, m, ...). They must exist.

    ``events`` is (n,), ``lags`` (m,) up to the ring's length; the keys had ``before`` (G,) inputs.
    """
    place = groups.position[events, None] - lags
    inputs: Floats = column.take(np.maximum(events[:, None] - lags, 0), axis=0)
    old = np.nonzero(place < 0)
    key = groups.segment[events[old[0]]]
    inputs[old] = ring.array[ring.rows[key], (before[key] + place[old]) % ring.array.shape[1]]
    return inputs


def key_slices(keys: int, reach: int) -> Iterator[slice]:
    """Cut ``keys`` keys into slices whose newest ``reach`` inputs fit a stretch."""
    step = max(1, _STRETCH // reach)
    for begin in range(0, keys, step):
        yield slice(begin, min(begin + step, keys))


@dataclass(frozen=True)
class Stretch:
    """Some neighbouring keys, each laid out as a line: its ``reach`` newest inputs from before, then the batch's.

    ``events`` are the sorted events laid out, and event i of them is at ``at[i]``: the input n before it, of the same
    key, is at ``at[i] - n``, for n up to ``reach``.
    """

    keys: slice
    events: slice
    at: Ints
    before: Ints
    reach: int

    def lay_out(self, ring: RingView, column: Floats) -> Floats:
        """The lines one behind the other, of the role with that ring and column (N, ...)."""
        old = newest(ring, self.before, self.reach, self.keys)
        line = np.empty((len(self.at) + old.shape[0] * self.reach, *column.shape[1:]))
        is_new = np.zeros(len(line), bool)
        is_new[self.at] = True
        line[self.at] = column[self.events]
        line[~is_new] = old.reshape((-1, *column.shape[1:]))
        return line


def stretches(groups: Groups, before: Ints, reach: int) -> Iterator[Stretch]:
    """Cut a batch into stretches of whole keys, which had ``before`` (G,) inputs."""
    filled = np.cumsum(groups.count + reach)
    begin = 0
    while begin < len(filled):
        base = int(filled[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(filled, base + _STRETCH, side="right")))
        events = slice(int(groups.start[begin]), int(groups.last[end - 1]) + 1)
        lines_before = groups.segment[events] - begin + 1
        at = np.arange(events.stop - events.start) + lines_before * reach
        yield Stretch(slice(begin, end), events, at, before, reach)
        begin = end
