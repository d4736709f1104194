"""Event time in epochs of one half-life: from one to the next every weight is halved, which is exact.

An event at time t weighs 2^(t / half_life) = 2^epoch 2^(rest / half_life). Sums are kept without the first factor of
the newest epoch, so they neither overflow nor drift, however long the stream runs; a late event has its true weight.
Sums of several half-lives have an epoch each.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from operators.columns.grouping import Floats, Groups, Ints
from operators.columns.scan import running

_HALVES = np.ldexp(1.0, -np.arange(1076))
"""1 halved so many times, exactly; in the end it is 0."""

_DIGITS = 53
"""Of a double, in binary."""

_LONGEST = 2.0**512
"""A half-life of so many seconds never passes; longer ones would overflow where they are multiplied."""


def advance(groups: Groups, epoch: Ints, count: Ints, time: Floats, half_lives: Floats) -> tuple[Floats, Floats]:
    """Let events come at their ``time`` (N,) to sums that held ``count`` (G,) ones as of ``epoch`` (G, H), in place.

    Returns what each event leaves of the sums before it, a power of 2, and its own weight in them, (N, H) both.
    """
    own, weight = epochs(time, half_lives)
    first = np.where(count[:, None] > 0, epoch, own.take(groups.start, axis=0))
    latest = running(np.maximum, groups, first, own)
    before = np.concatenate([latest[:1], latest[:-1]])
    before[groups.start] = first
    epoch[...] = latest.take(groups.last, axis=0)
    return halved(latest - before), weight * halved(latest - own)


def advance_at_once(
    groups: Groups, epoch: Ints, count: Ints, time: Floats, half_lives: Floats
) -> tuple[Floats, Floats, Floats]:
    """As :func:`advance`, for who needs to know only what there is after all events.

    Returns what they leave together of the sums before them, (G, H); the weight of each event in the end, (N, H), in
    units of its group; and those, (G, H), powers of 2.
    """
    own, weight = epochs(time, half_lives)
    latest = own.take(groups.last, axis=0)
    ticks = latest.take(groups.segment, axis=0) - own
    if ticks.min(initial=0) < 0:  # an event that came late
        latest = np.maximum.reduceat(own, groups.start, axis=0)
        ticks = latest.take(groups.segment, axis=0) - own
    if ticks.any():
        weight *= halved(ticks)
    before = np.where(count[:, None] > 0, epoch, latest)
    epoch[...] = np.maximum(latest, before)
    return halved(epoch - before), weight, halved(epoch - latest)


def epochs(time: Floats, half_lives: Floats) -> tuple[Ints, Floats]:
    """The epoch of each time (N,) and its weight in it, from 2^(-1/2) to 2^(1/2): (N, H) both.

    The remainder of the division is exact, so the weight keeps all its digits however large the time is.
    """
    length = np.minimum(half_lives, _LONGEST)
    epoch = np.rint(time[:, None] / length)
    rest = time[:, None]
    for part in _parts(tuple(length.tolist()), int(np.abs(epoch).max(initial=1.0)).bit_length()):
        rest = rest - epoch * part
    return epoch.astype(np.int64), np.exp2(rest / length)


@lru_cache
def _parts(lengths: tuple[float, ...], digits: int) -> list[Floats]:
    """Cut lengths into sums of numbers of which the product with any integer of so many digits is exact: (H,) each."""
    left, parts = np.array(lengths), []
    while left.any():
        fraction, power = np.frexp(left)
        kept = max(_DIGITS - digits, 1)
        parts.append(np.ldexp(np.trunc(np.ldexp(fraction, kept)), power - kept))
        left = left - parts[-1]
    return parts


def align(epoch: Ints, count: Ints, its_epoch: Ints, its_count: Ints) -> tuple[Floats, Floats]:
    """Move sums of ``count`` (G,) events as of ``epoch`` (G, H) on to where others are, if these are later, in place.

    Returns what is left of the sums, and of the others, at the epoch that they have in common then: (G, H) both.
    """
    mine = np.where(count[:, None] > 0, epoch, its_epoch)
    its = np.where(its_count[:, None] > 0, its_epoch, mine)
    epoch[...] = np.maximum(mine, its)
    return halved(epoch - mine), halved(epoch - its)


def halved(ticks: Ints) -> Floats:
    """What is left of 1 after so many half-lives, which may not be negative."""
    return _HALVES.take(ticks, mode="clip")
