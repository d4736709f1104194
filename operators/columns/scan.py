"""Running sums and decays of many keys at once that never mix two keys.

A global cumulative sum minus an offset would be shorter, and wrong: beside a key of size 1e12 one of 1e-3 keeps no
correct digit. Here every key is summed from its own start. What a compensated sum adds up is ``high``, what plain
addition gives, and ``low``, what each of its roundings lost; event by event, so that the results are the same bits
however the events are cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Block, Floats, Groups, Ints

Array = npt.NDArray[Any]

_LONG = 500
"""Vectors of keys with so many events are quicker added up key by key."""

_LARGEST = 1020
"""Above this power of 2 sums may overflow on the way."""

_ALIKE = 16
"""Numbers whose powers of 2 differ by less are of like size: sums of both kinds stay exact far beyond a rounding."""

_NARROW = 8
"""Up to this many events a key, one vector addition a rank is quicker than NumPy's own accumulation."""


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded sum and its error: ``s + e == a + b`` exactly (Knuth, The Art of Computer Programming 2, 4.2.2)."""
    s = a + b
    t = s - a
    error = b - t
    t -= s
    t += a
    error += t
    return s, error


def running_sums(
    groups: Groups,
    high: Floats,
    low: Floats,
    terms: Floats,
    errors: Floats | None = None,
    *,
    each: bool,
    unit: Floats | None = None,
    power: int | None = None,
) -> tuple[Floats, Floats] | None:
    """Add ``terms`` (N, ...) to the compensated sums ``high + low`` (G, ...) of their groups, in place.

    ``errors`` (N, ...) is what the terms themselves lost already, if anything; a term of 1 is ``unit`` (G, ...) in the
    sums of its group, if not 1. Of terms that have one sign and are all below 2**``power`` in size it need not be
    looked for how large they are. With ``each``, returns high and low after every event, (N, ...). The error of ``high
    + low`` is about that of one rounding (Neumaier 1974; Ogita, Rump and Oishi 2005, Sum2).
    """
    numbers = terms[:1].size
    if not each and (numbers == 1 or len(terms) >= _LONG * len(groups.start)):
        added = _added(groups, terms, errors, power)
        if added is not None:
            add_sums(high, low, *(added if unit is None else (unit * part for part in added)))
            return None
    if unit is not None:
        units = unit.take(groups.segment, axis=0)
        terms, errors = units * terms, None if errors is None else units * errors
    waves = groups.waves(numbers)
    newest_high, newest_low = high.take(waves.groups, axis=0), low.take(waves.groups, axis=0)
    sums = (np.empty_like(terms), np.empty_like(terms)) if each else None
    for stretch in waves.stretches:
        events = waves.events[stretch.places]
        given = terms.take(events, axis=0)
        after = stretch.accumulate(np.add, newest_high, given)
        before = stretch.preceding(newest_high, after)
        part = after - before
        lost = given - part
        before -= np.subtract(after, part, out=part)
        lost += before
        if errors is not None:
            lost += errors.take(events, axis=0)
        after_low = stretch.accumulate(np.add, newest_low, lost)
        stretch.keep(newest_high, after)
        stretch.keep(newest_low, after_low)
        if sums is not None:
            stretch.put(after, sums[0])
            stretch.put(after_low, sums[1])
    high[waves.groups], low[waves.groups] = newest_high, newest_low
    return sums


def _added(groups: Groups, terms: Floats, errors: Floats | None, power: int | None) -> tuple[Floats, Floats] | None:
    """The compensated sums (G, ...) of the terms of each group; None where this would overflow.

    Terms are cut into multiples of a power of 2, so large that no sum of them is rounded, and what is left (Rump, Ogita
    and Oishi, Accurate floating-point summation, 2008): at once exact and done without going rank by rank.
    """
    if len(terms) == 0:
        return terms, terms
    grid = _grid(groups, terms) if power is None else 1.5 * 2.0 ** (power + groups.longest.bit_length())
    if grid is None:
        return None
    upper = terms + grid
    upper -= grid
    sums = np.add.reduceat(upper, groups.start, axis=0)
    lower = np.subtract(terms, upper, out=upper)
    if errors is not None:
        lower += errors
    return sums, np.add.reduceat(lower, groups.start, axis=0)


def _grid(groups: Groups, terms: Floats) -> Floats | float | None:
    """What cuts terms (N, ...) when it is added and taken away again; None where sums may overflow.

    It is one for all where terms are of like size, and else one for the terms of each group.
    """
    bits = np.abs(terms).view(np.int64)  # in the order of the numbers, and twice as quick to compare
    largest, smallest = int(bits.max()), int((bits - 1).view(np.uint64).min())  # a 0 is cut by any grid
    if largest - smallest < _ALIKE << 52:
        power = (largest >> 52) - 1022 + groups.longest.bit_length()
        return 1.5 * 2.0**power if power <= _LARGEST else None
    size = np.frexp(np.maximum.reduceat(bits, groups.start, axis=0).view(np.float64))[1]
    size += np.frexp(groups.count)[1].reshape(-1, *(1 for _ in terms.shape[1:]))
    if int(size.max()) > _LARGEST:
        return None
    return np.repeat(np.ldexp(1.5, size), groups.count, axis=0)


def add_sums(high: Floats, low: Floats, more: Floats, more_low: Floats) -> None:
    """Add the compensated sums ``more + more_low`` to ``high + low``, in place."""
    total, lost = two_sum(high, more)
    high[...] = total
    low += more_low + lost


def accumulate(high: Floats, low: Floats, terms: Floats, errors: Floats | None = None) -> tuple[Floats, Floats]:
    """The compensated sums (L, g, ...) after each of L ranks of ``terms``, which start at ``high + low`` (g, ...)."""
    if len(terms) <= _NARROW:
        highs, lows = np.empty_like(terms), np.empty_like(terms)
        for rank in range(len(terms)):
            high, lost = two_sum(high, terms[rank])
            low = low + (lost if errors is None else lost + errors[rank])
            highs[rank], lows[rank] = high, low
        return highs, lows
    sums = np.concatenate([high[None], terms])
    np.cumsum(sums, axis=0, out=sums)
    before, after = sums[:-1], sums[1:]
    part = after - before
    lost = (before - (after - part)) + (terms - part)
    if errors is not None:
        lost += errors
    lost[0] += low
    return after, np.cumsum(lost, axis=0, out=lost)


Decay = Callable[[Block, int], Floats | float]
"""What is left of a weight from one rank of a block to the one so many later: one number, or (L - step, g)."""


def decayed_sums(groups: Groups, decay: Decay, terms: Floats) -> Floats:
    """After every event, the sum of its group's ``terms`` (N, ...) so far, each decayed since it came: (N, ...).

    Steps are combined pairwise (Hillis and Steele 1986), so no decay is ever divided by, and a rounding is made log2 L
    times, not L times.
    """
    result = np.empty_like(terms)
    for block in groups.blocks:
        sums = terms[block.events]
        step = 1
        while step < len(sums):
            left = np.asarray(decay(block, step))
            sums[step:] += left.reshape(left.shape + (1,) * (sums.ndim - left.ndim)) * sums[:-step]
            step *= 2
        block.put(sums, result)
    return result


def running_max(groups: Groups, values: Ints) -> Ints:
    """After every event, the greatest value of its group so far: (N,)."""
    return running(np.maximum, groups, values[groups.start], values)


def running(operation: np.ufunc, groups: Groups, initial: Array, values: Array) -> Array:
    """After every event, its group's ``initial`` (G, ...) and ``values`` so far combined, (N, ...)."""
    waves = groups.waves(values[:1].size)
    newest, results = initial.take(waves.groups, axis=0), np.empty_like(values)
    for stretch in waves.stretches:
        after = stretch.accumulate(operation, newest, values.take(waves.events[stretch.places], axis=0))
        stretch.put(after, results)
        stretch.keep(newest, after)
    return results


def previous(groups: Groups, after: Array, initial: Array) -> Array:
    """What there was before each event, (N, ...), of what there is after each, and before each group's first."""
    before = np.empty_like(after)
    before[1:] = after[:-1]
    before[groups.start] = initial
    return before
