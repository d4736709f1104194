"""Numbers of about 32 digits, each the sum of two doubles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.columns.scan import two_sum

_SPLIT = 2.0**27 + 1


@dataclass(frozen=True)
class DoubleDouble:
    """Arrays of numbers ``high + low``, where low is no more than the rounding of high.

    What takes two of them and gives one is wrong by a few 2^-105 of its greatest term. Reference: Dekker,
    A Floating-Point Technique for Extending the Available Precision, Numerische Mathematik 18 (1971).
    """

    high: Floats
    low: Floats

    @staticmethod
    def sum(a: Floats, b: Floats) -> DoubleDouble:
        """The exact sum of doubles."""
        return DoubleDouble(*two_sum(a, b))

    @property
    def rounded(self) -> Floats:
        """The nearest doubles."""
        return self.high + self.low

    def __getitem__(self, rows: slice | Ints) -> DoubleDouble:
        if isinstance(rows, slice) and rows == slice(None):
            return self
        return DoubleDouble(self.high[rows], self.low[rows])

    def above(self, other: DoubleDouble) -> DoubleDouble:
        """The rows of both."""
        return DoubleDouble(np.concatenate([self.high, other.high]), np.concatenate([self.low, other.low]))

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.high, -self.low)

    def __add__(self, other: DoubleDouble) -> DoubleDouble:
        high, low = two_sum(self.high, other.high)
        return _normal(high, low + (self.low + other.low))

    def __sub__(self, other: DoubleDouble) -> DoubleDouble:
        return self + -other

    def __mul__(self, other: DoubleDouble) -> DoubleDouble:
        high, low = two_product(self.high, other.high)
        return _normal(high, low + (self.high * other.low + self.low * other.high))

    def times(self, factor: Floats) -> DoubleDouble:
        """The product with doubles."""
        high, low = two_product(self.high, factor)
        return _normal(high, low + self.low * factor)

    def over(self, divisor: Floats) -> DoubleDouble:
        """The quotient by doubles."""
        ratio = self.high / divisor
        high, low = two_product(ratio, divisor)
        return _normal(ratio, (((self.high - high) - low) + self.low) / divisor)


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded product and its error: ``p + e == a * b`` exactly, where both are from 1e-145 to 1e145 in size."""
    p = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = (a_high, a_low) if a is b else _halves(b)
    return p, ((a_high * b_high - p) + (a_high * b_low + a_low * b_high)) + a_low * b_low


def _halves(a: Floats) -> tuple[Floats, Floats]:
    """A double as the sum of two with half of its digits, whose products are exact (Veltkamp)."""
    big = _SPLIT * a
    high = big - (big - a)
    return high, a - high


def _normal(high: Floats, low: Floats) -> DoubleDouble:
    """The sum of two doubles of which the first is greater."""
    total = high + low
    return DoubleDouble(total, low - (total - high))
