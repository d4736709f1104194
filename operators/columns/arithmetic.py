"""Small arithmetic that operators share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats, Ints


def divide(numerator: Floats, denominator: Floats | Ints) -> Floats:
    """Divide (N, ...) by one number a row, (N,). Where that is 0 the result is undefined: NaN, never an epsilon."""
    zero = denominator == 0
    if zero.any():
        denominator = np.where(zero, np.nan, denominator)
    quotient: Floats = numerator / alike(denominator, numerator)
    return quotient


def times(weight: Floats, rows: Floats) -> Floats:
    """Multiply each row (N, ...) by its weight (N,)."""
    product: Floats = alike(weight, rows) * rows
    return product


def alike(numbers: npt.NDArray[Any], rows: Floats) -> npt.NDArray[Any]:
    """Numbers (N,) spread out to the shape of rows (N, ...): quicker than to broadcast over a short last axis."""
    return numbers if rows.ndim == 1 else np.repeat(numbers, math.prod(rows.shape[1:])).reshape(rows.shape)


def choose(which: npt.NDArray[np.bool_], rows: Floats, others: Floats | float) -> Floats:
    """Rows (N, ...) where ``which`` (N,) holds, the others where it doesn't."""
    return np.where(which.reshape((-1, *(1,) * (rows.ndim - 1))), rows, others)


def flat(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows (N, ...) as rows of numbers, (N, d)."""
    return rows.reshape((len(rows), math.prod(rows.shape[1:])))


def plain(numbers: npt.NDArray[Any]) -> list[object]:
    """Rows (N, ...) as plain numbers or lists; None for one that is not all finite."""
    finite = np.isfinite(numbers) if numbers.ndim == 1 else np.isfinite(flat(numbers)).all(axis=1)
    return [row if known else None for row, known in zip(numbers.tolist(), finite.tolist(), strict=True)]
