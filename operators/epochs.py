"""Event time in epochs of one half-life: from one to the next every weight is halved, which is exact.

An event at time t weighs 2^(t / half_life) = 2^epoch 2^(rest / half_life). Sums are kept without the first factor of
the newest epoch, so they neither overflow nor drift, however long the stream runs; a late event has its true weight.
Sums of several half-lives have an epoch each.
"""

from __future__ import annotations

import numpy as np

from operators.grouping import Floats, Groups, Ints
from operators.scan import running_max

_HALVES = np.ldexp(1.0, -np.arange(1076))
"""1 halved so many times, exactly; in the end it is 0."""


def advance(groups: Groups, epoch: Ints, count: Ints, time: Floats, half_lives: Floats) -> tuple[Floats, Floats]:
    """Let events come at their ``time`` (N,) to sums that held ``count`` (G,) ones as of ``epoch`` (G, H), in place.

    Returns what each event leaves of the sums before it, a power of 2, and its own weight in them, (N, H) both.
    """
    # The remainder of a division is exact, so the weight keeps all its digits however large the time is.
    rest = np.fmod(time[:, None], half_lives)
    own = np.rint((time[:, None] - rest) / half_lives).astype(np.int64)
    first = np.where(count[:, None] > 0, epoch, own[groups.start])
    latest = np.maximum(running_max(groups, own), first[groups.segment])
    before = np.concatenate([latest[:1], latest[:-1]])
    before[groups.start] = first
    epoch[...] = latest[groups.last]
    return halved(latest - before), np.exp2(rest / half_lives) * halved(latest - own)


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
    return _HALVES[np.minimum(ticks, len(_HALVES) - 1)]
