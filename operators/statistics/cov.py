"""How two inputs of a key vary together: their covariance and their correlation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.operator import FieldSpec, Layout, OperatorError, Shape
from operators.options import whole
from operators.statistics.moments import Moments, Pairs, Shapes, size


@dataclass(frozen=True, kw_only=True)
class Joint(Moments):
    """Two inputs, whose every number makes a pair with every number of the other; or a vector with itself."""

    value: FieldSpec
    other: FieldSpec | None = None

    roles: ClassVar[tuple[str, ...]] = ("value", "other")

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the first inputs, and compensated sums. Raises OperatorError for a single number."""
        if self.other is None and shapes["value"] == ():
            raise OperatorError("other", f"is missing, expected what the number {self.value!r} is to vary with")
        return super().layout(shapes)

    def pairs(self, shapes: Shapes) -> Pairs:
        """Each number of ``value`` with each of ``other``; of a vector alone each pair once."""
        first = size(shapes[0])
        if self.other is None:
            return np.triu_indices(first)
        second = size(shapes[1])
        if first == second == 1:
            return slice(0, 1), slice(1, 2)
        return np.repeat(np.arange(first), second), first + np.tile(np.arange(second), first)

    def matrix(self, pairs: Floats, shapes: Shapes) -> Floats:
        """What is known of all pairs, (P, N), in the shape of ``value`` by that of ``other``: (N, ...)."""
        if self.other is not None:
            return pairs[: size(shapes[0]) * size(shapes[1])].T.reshape((-1, *shapes[0], *shapes[1]))
        table = np.empty((*shapes[0], *shapes[0]), np.int64)
        left, right = np.triu_indices(len(table))
        table[left, right] = table[right, left] = np.arange(len(left))
        return np.moveaxis(pairs[table], -1, 0)


@dataclass(frozen=True, kw_only=True)
class Cov(Joint):
    """The covariance of two numbers, or the covariance matrix of vectors.

        c_n = ((x_1 - m_x) (y_1 - m_y) + ... + (x_n - m_x) (y_n - m_y)) / (n - ddof)

    Parameters: ``value`` and ``other``, the fields x and y; of vectors c is a matrix, with a row for each number of
    ``value`` and a column for each of ``other``; with no ``other``, of the vector ``value`` with itself. ``ddof``, the
    degrees of freedom that the means take: 1 for a sample, 0 if the events are all there is; ``min_count``, how many
    events there must be for a result. Of no more than ``ddof`` events there is none.
    State: the count, the first inputs, and compensated sums of what the inputs are beside them and of all products:
    9 numbers for two numbers, 1 + 4d + d^2 for a vector of d. At any level of the inputs the result is right to the
    last digits, as that of ``var``.
    References: Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, The American Statistician 37 (1983);
    Schubert, Gertz, Numerically Stable Parallel Computation of (Co-)Variance, SSDBM 2018.
    """

    ddof: int = 1

    measure: ClassVar[str] = "cov"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("ddof", self.ddof, "of degrees of freedom", at_least=0)

    def result(self, spread: Floats, count: Ints, shapes: Shapes) -> Floats:
        """The covariances."""
        freedom = np.where(count > self.ddof, count - self.ddof, np.nan)
        return self.matrix(spread / freedom, shapes)


@dataclass(frozen=True, kw_only=True)
class Corr(Joint):
    """Pearson's correlation of two numbers, or the correlation matrix of vectors.

        r_n = c_n / (s_x s_y),  the covariance over both standard deviations, from -1 to 1

    Parameters: ``value`` and ``other``, the fields x and y; of vectors r is a matrix, with a row for each number of
    ``value`` and a column for each of ``other``; with no ``other``, of the vector ``value`` with itself. ``min_count``,
    how many events there must be for a result. Where either does not vary there is none.
    State: that of ``cov`` and the compensated sums of squares, 13 numbers for two numbers, 1 + 4d + d^2 for a vector of
    d. At any level of the inputs the result is right to the last digits, as that of ``var``.
    References: Pearson, Notes on Regression and Inheritance, Proceedings of the Royal Society 58 (1895); Schubert,
    Gertz, Numerically Stable Parallel Computation of (Co-)Variance, SSDBM 2018.
    """

    measure: ClassVar[str] = "corr"

    def pairs(self, shapes: Shapes) -> Pairs:
        """Those of the covariance, and each number with itself."""
        if self.other is None:
            return super().pairs(shapes)
        both = np.arange(sum(map(size, shapes)))
        left, right = super().pairs(shapes)
        return np.append(both[left], both), np.append(both[right], both)

    def result(self, spread: Floats, count: Ints, shapes: Shapes) -> Floats:
        """The correlations."""
        left, right = self.pairs(shapes)
        # A square is digits * 4^power, so that no product of two squares is too great for the root to be exact.
        digits, power = np.frexp(np.maximum(spread[left == right], 0.0))
        digits, power = np.ldexp(digits, power & 1), power >> 1
        scale = np.sqrt(digits[left] * digits[right])
        ratio = np.ldexp(spread, -power[left] - power[right]) / np.where(scale > 0, scale, np.nan)
        return self.matrix(np.clip(ratio, -1.0, 1.0), shapes)
