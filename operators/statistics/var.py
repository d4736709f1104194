"""The variance and the standard deviation of all events of a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.operator import FieldSpec
from operators.options import whole
from operators.statistics.moments import Moments, Pairs, Shapes


@dataclass(frozen=True, kw_only=True)
class Var(Moments):
    """The variance of a number, or of a vector element by element.

        s^2_n = ((x_1 - m_n)^2 + ... + (x_n - m_n)^2) / (n - ddof),  m_n = (x_1 + ... + x_n) / n

    Parameters: ``value``, the field; ``ddof``, the degrees of freedom that the mean takes: 1 for a sample, 0 if the
    events are all there is; ``min_count``, how many events there must be for a result. Of no more than ``ddof`` events
    there is none.
    State: the count, the first input x_0, and compensated sums of x - x_0 and of its square, 1 + 5d numbers. Sums of x
    and x^2 would cancel: at 1e9 with a spread of 1 no digit would be right. With the first input taken off exactly and
    sums of 32 digits the result is right to the last digits at any level.
    References: Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, The American Statistician 37 (1983);
    Schubert, Gertz, Numerically Stable Parallel Computation of (Co-)Variance, SSDBM 2018.
    """

    value: FieldSpec
    ddof: int = 1

    measure: ClassVar[str] = "var"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("ddof", self.ddof, "of degrees of freedom", at_least=0)

    def pairs(self, shapes: Shapes) -> Pairs:
        """Each input with itself."""
        return slice(None), slice(None)

    def result(self, spread: Floats, count: Ints, shapes: Shapes) -> Floats:
        """The variance."""
        freedom = np.where(count > self.ddof, count - self.ddof, np.nan)
        return (np.maximum(spread, 0.0) / freedom).T.reshape((-1, *shapes[0]))


@dataclass(frozen=True, kw_only=True)
class Std(Var):
    """The standard deviation of a number, or of a vector element by element.

        s_n = sqrt(((x_1 - m_n)^2 + ... + (x_n - m_n)^2) / (n - ddof)),  m_n = (x_1 + ... + x_n) / n

    Parameters: ``value``, the field; ``ddof``, the degrees of freedom that the mean takes: 1 for a sample, 0 if the
    events are all there is; ``min_count``, how many events there must be for a result. Of no more than ``ddof`` events
    there is none.
    State: that of the variance, 1 + 5d numbers.
    Reference: Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, The American Statistician 37 (1983).
    """

    measure: ClassVar[str] = "std"

    def result(self, spread: Floats, count: Ints, shapes: Shapes) -> Floats:
        """The square root of the variance."""
        return np.sqrt(super().result(spread, count, shapes))
