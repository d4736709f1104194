"""Small arithmetic that operators share."""

from __future__ import annotations

import numpy as np

from operators.grouping import Floats, Ints


def divide(numerator: Floats, denominator: Floats | Ints) -> Floats:
    """Divide (N, ...) by one number a row, (N,). Where that is 0 the result is undefined: NaN, never an epsilon."""
    by = np.where(denominator == 0, np.nan, denominator)
    return numerator / by.reshape((-1, *(1,) * (numerator.ndim - 1)))
