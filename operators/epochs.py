"""Event time in epochs of one half-life: from one to the next every weight is halved, which is exact.

An event at time t weighs 2^(t / half_life) = 2^epoch 2^(rest / half_life). Sums are kept without the first factor of
the newest epoch, so they neither overflow nor drift, however long the stream runs; a late event has its true weight.
"""

from __future__ import annotations

import numpy as np

from operators.grouping import Floats, Ints

_HALVES = np.ldexp(1.0, -np.arange(1076))
"""1 halved so many times, exactly; in the end it is 0."""


def epochs(time: Floats, half_life: Floats) -> tuple[Ints, Floats]:
    """The epoch of each time and the weight within it, from 1/2 to 2.

    The remainder of a division is exact, so the weight keeps all its digits however large the time is.
    """
    rest = np.fmod(time, half_life)
    return np.rint((time - rest) / half_life).astype(np.int64), np.exp2(rest / half_life)


def halved(ticks: Ints) -> Floats:
    """What is left of 1 after so many half-lives, which may not be negative."""
    return _HALVES[np.minimum(ticks, len(_HALVES) - 1)]
