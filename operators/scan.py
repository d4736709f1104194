"""Running sums of many keys at once that lose no digits and never mix two keys.

A global cumulative sum minus an offset would be shorter, and wrong: beside a key of size 1e12 one of 1e-3 keeps no
correct digit. Here every key is summed from its own start, event by event, so that the results are the same bits
however the events are cut into batches.
"""

from __future__ import annotations

import numpy as np

from operators.grouping import Floats, Groups

_NARROW = 8
"""Up to this many events a key, one vector addition a rank is quicker than NumPy's own accumulation."""


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded sum and its error: ``s + e == a + b`` exactly (Knuth, The Art of Computer Programming 2, 4.2.2)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def running_sums(
    groups: Groups, high: Floats, low: Floats, terms: Floats, *, each: bool
) -> tuple[Floats, Floats] | None:
    """Add ``terms`` (N, ...) to the compensated sums ``high + low`` (G, ...) of their groups, in place.

    ``high`` is what plain addition gives; ``low`` adds up what each of its roundings lost. With ``each``, returns the
    two after every event, (N, ...). The error of ``high + low`` is that of one rounding (Neumaier 1974; Ogita, Rump
    and Oishi 2005, Sum2).
    """
    result = (np.empty_like(terms), np.empty_like(terms)) if each else None
    for block in groups.blocks:
        highs, lows = _accumulate(high[block.groups], low[block.groups], terms[block.events])
        high[block.groups], low[block.groups] = block.final(highs), block.final(lows)
        if result is not None:
            block.put(highs, result[0])
            block.put(lows, result[1])
    return result


def _accumulate(high: Floats, low: Floats, terms: Floats) -> tuple[Floats, Floats]:
    """The compensated sums (L, g, ...) after each rank of ``terms`` (L, g, ...), which is used up."""
    if len(terms) <= _NARROW:
        lows = np.empty_like(terms)
        for rank in range(len(terms)):
            high, lost = two_sum(high, terms[rank])
            low = low + lost
            terms[rank], lows[rank] = high, low
        return terms, lows
    sums = np.concatenate([high[None], terms])
    np.cumsum(sums, axis=0, out=sums)
    before, after = sums[:-1], sums[1:]
    part = after - before
    lost = before - (after - part)
    terms -= part
    lost += terms
    lost[0] += low
    np.cumsum(lost, axis=0, out=lost)
    return after, lost
