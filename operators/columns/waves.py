"""The events of a batch rank by rank: how many short runs, and few long ones, are gone along at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SHORT = 32
_WIDE = 200
"""A wave of so many numbers is quicker than to go along the runs."""
_FEW = 12
"""So few waves are quicker in any case."""
_FILLING = 1000
"""To compute so many events for nothing is quicker than to begin with runs of another length."""
_CACHED = 1 << 13
"""So many numbers are worked on at once: what is made of them on the way stays in the cache."""


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
class Stretch:
    """Some neighbouring waves, or one rest, to be gone along with arrays that fit the cache.

    Its events stand at ``places`` of :class:`Waves`, in whose order they belong to the groups up to ``runs.stop``:
    wave r of them is ``edges[r] : edges[r + 1]`` of the stretch. A rest has no edges, but a ``shape``, (g, L). ``last``
    (g,) is where in the stretch each run has its last event. The sorted events that they are, filling left out, are
    ``own``, at ``inside`` of the stretch (None: all).
    """

    places: slice
    own: Ints
    inside: Ints | None
    runs: slice
    edges: Sequence[int]
    shape: tuple[int, int]
    last: Ints

    def accumulate(self, operation: np.ufunc, newest: Array, terms: Array) -> Array:
        """What combining what each group has, ``newest`` (G, ...), with its ``terms`` gives after every event."""
        after, now = np.empty_like(terms), newest[self.runs]
        if self.edges:
            for begin, end in pairwise(self.edges):
                now = operation(now[: end - begin], terms[begin:end], out=after[begin:end])
            return after
        runs = self._laid(after)
        runs[...] = self._laid(terms)
        operation(now, runs[:, 0], out=runs[:, 0])
        operation.accumulate(runs, axis=1, out=runs)
        return after

    def preceding(self, newest: Array, after: Array) -> Array:
        """What there was before every event, of what there is after it."""
        now = newest[self.runs]
        if self.edges:
            waves = pairwise(pairwise(self.edges))
            return np.concatenate([now, *(after[begin : begin + end - mid] for (begin, mid), (_, end) in waves)])
        before = np.empty_like(after)
        self._laid(before)[:, 0] = now
        self._laid(before)[:, 1:] = self._laid(after)[:, :-1]
        return before

    def keep(self, newest: Array, after: Array) -> None:
        """What there is after the stretch, into ``newest``."""
        newest[self.runs] = after.take(self.last, axis=0)

    def put(self, results: Array, out: Array) -> None:
        """Store the stretch's results, (n, ...), with the sorted events they belong to: ``out`` is (N, ...)."""
        out[self.own] = results if self.inside is None else results.take(self.inside, axis=0)

    def _laid(self, rows: Array) -> Array:
        return rows.reshape((*self.shape, *rows.shape[1:]))


@dataclass(frozen=True)
class Waves:
    """The events of a batch rank by rank: first the first event of every key, then the second ones, and so on.

    Place i of this order is the sorted event ``events[i]``. The groups come with the longest runs first, ``groups``
    (G,), so that a wave is the events of as many of them as have one of that rank: wave r is the places
    ``edges[r] : edges[r + 1]``. Where few groups have many more events there are no more waves: what is left of their
    runs stands behind, as ``rests``. ``last`` (G,) is the place of each group's last event, ``own`` are the places that
    are no filling (None: all are). ``numbers`` is how many each event has: the more, the longer waves pay.
    """

    groups: Ints
    events: Ints
    edges: list[int]
    rests: list[Rest]
    last: Ints
    own: Ints | None
    numbers: int

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The whole batch in stretches, in their order."""
        return [*self._neighbours(_CACHED // self.numbers), *map(self._alone, self.rests)]

    def put(self, results: Array) -> Array:
        """Results of all places in the order of the sorted events, (N, ...)."""
        return results.take(self._places, axis=0)

    def _neighbours(self, most: int) -> Iterator[Stretch]:
        """Waves that are together at most so many events, or one of more."""
        first = 0
        for wave, (begin, end) in enumerate(pairwise(self.edges)):
            if wave + 2 < len(self.edges) and self.edges[wave + 2] - self.edges[first] <= most:
                continue
            edges = [edge - self.edges[first] for edge in self.edges[first : wave + 2]]
            runs = slice(0, edges[1])
            last = np.minimum(self.last[runs], begin + np.arange(edges[1])) - self.edges[first]
            places = slice(self.edges[first], end)
            yield Stretch(places, self.events[places], None, runs, edges, (0, 0), last)
            first = wave + 1

    def _alone(self, rest: Rest) -> Stretch:
        runs = slice(rest.begin, rest.begin + rest.shape[0])
        places = slice(rest.place, rest.place + rest.shape[0] * rest.shape[1])
        inside = None
        if self.own is not None:
            begin, end = np.searchsorted(self.own, (places.start, places.stop))
            inside = self.own[begin:end] - places.start
        own = self.events[places] if inside is None else self.events[places][inside]
        return Stretch(places, own, inside, runs, (), rest.shape, self.last[runs] - rest.place)

    @cached_property
    def _places(self) -> Ints:
        """The place of each sorted event, (N,)."""
        own = np.arange(len(self.events)) if self.own is None else self.own
        places = np.empty_like(own)
        places[self.events.take(own)] = own
        return places


def lay_waves(start: Ints, count: Ints, numbers: int) -> Waves:
    """The runs ``start[g] : start[g] + count[g]`` of the sorted events, of so many numbers each, rank by rank."""
    groups, _ = stable_order(count.max(initial=0) - count)
    start, count = start.take(groups), count.take(groups)
    depth, longest = (int(count[i]) if len(count) > i else 0 for i in (_WIDE // numbers, 0))
    if longest <= depth + _FEW:
        depth = longest
    width = np.searchsorted(-count, -np.arange(depth + 1))
    edges = np.concatenate([[0], np.cumsum(width[:-1])])
    last = edges[np.minimum(count, depth) - 1] + np.arange(len(count))
    events = np.concatenate([start[:0], *(start[:size] for size in width[:-1].tolist())])
    events += np.repeat(np.arange(depth), width[:-1])
    left = count[: int(width[-1])] - depth
    if len(left) == 0:
        return Waves(groups, events, edges.tolist(), [], last, None, numbers)
    parts, own, rests = [events], [np.ones(len(events), bool)], list(_rests(left, len(events)))
    for rest in rests:
        runs, length = slice(rest.begin, rest.begin + rest.shape[0]), rest.shape[1]
        parts.append((np.arange(length) + start[runs, None] + depth).reshape(-1))
        own.append((np.arange(length) < left[runs, None]).reshape(-1))
        last[runs] = rest.place + length * np.arange(rest.shape[0]) + left[runs] - 1
    events = np.minimum(np.concatenate(parts), count.sum() - 1)
    return Waves(groups, events, edges.tolist(), rests, last, np.flatnonzero(np.concatenate(own)), numbers)


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


def stable_order(keys: Ints) -> tuple[Ints, Array]:
    """Indices that sort ``keys`` (from 0) and keep the order of arrival among equals; and the sorted keys.

    Each key is sorted together with its index, as one integer, whose key and index are its digits: no two are alike, so
    any sort is stable, and NumPy has vectorised ones for plain numbers. As a rule 32 bits are enough.
    """
    digits = (len(keys) - 1).bit_length()
    bits = int(keys.max(initial=0)).bit_length() + digits
    packed: Array = keys.astype(np.uint32 if bits <= _SHORT else np.int64)
    packed <<= digits
    packed |= np.arange(len(keys), dtype=packed.dtype)
    packed.sort()
    index = (packed & ((1 << digits) - 1)).astype(np.int64)
    packed >>= digits
    return index, packed
