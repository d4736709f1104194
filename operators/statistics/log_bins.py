"""Bins with powers for bounds: what stands for a bin is within the same relative error of all numbers in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from operators.columns.grouping import Floats, Ints

_LOG_MAX = 709.7827128933839
"""The natural logarithm of the greatest double, rounded down."""

_LOG_RANGE = 745.2
"""Above the size of the natural logarithm of any double that is not 0."""


@dataclass(frozen=True)
class LogBins:
    """The bins (gamma^(k-1), gamma^k], gamma = (1 + accuracy) / (1 - accuracy), their mirror images, and that of 0.

    Bins have whole numbers in the order of their values: 0 for 0, k + ``offset`` for a positive number, minus that for
    the negative one. On level l the bins are 2^l as wide, measured by the logarithm: gamma is squared on each level,
    so that pairs of neighbours become one bin.
    """

    accuracy: float

    @property
    def width(self) -> float:
        """The logarithm of gamma."""
        return 2.0 * math.atanh(self.accuracy)

    @cached_property
    def levels(self) -> int:
        """From this level on there are at most five bins: 0 and, of either sign, up to 1 and above."""
        return math.ceil(math.log2(_LOG_RANGE / self.width))

    def codes(self, values: Floats) -> Ints:
        """The bin of each value on level 0."""
        size = np.abs(values)
        known = size > 0
        code = np.ceil(np.log(np.where(known, size, 1.0)) / self.width) + (1 << self.levels)
        return np.where(known, np.copysign(code, values), 0.0).astype(np.int64)

    def values(self, codes: Ints, level: Ints) -> Floats:
        """What stands for bins of these levels: within :meth:`accuracy_on` of every number in them."""
        width = np.ldexp(self.width, level)
        power = np.abs(codes) - np.ldexp(1.0, self.levels - level)
        size = np.exp(np.minimum(power * width + (math.log(2.0) - np.logaddexp(width, 0.0)), _LOG_MAX))
        return np.where(codes == 0, 0.0, np.copysign(size, codes))

    def accuracy_on(self, level: Ints) -> Floats:
        """The greatest relative error on these levels: about twice that of the level below, and never above 1."""
        return np.tanh(np.ldexp(math.atanh(self.accuracy), level))


def coarser(codes: Ints, by: Ints | int) -> Ints:
    """The bins, so many levels higher, that hold these."""
    wider: Ints = np.sign(codes) * -(-np.abs(codes) >> by)
    return wider
