"""Small arithmetic that operators share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from operators.columns.arithmetic import divide, plain


@pytest.mark.parametrize("rows", [[1.0, 2.0, 3.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
def test_where_the_denominator_is_zero_the_quotient_is_undefined_and_nowhere_else(rows: list[object]) -> None:
    numerator = np.array(rows)
    denominator = np.array([2.0, 0.0, -0.5])
    quotient = divide(numerator, denominator)
    assert np.isnan(quotient[1]).all()
    np.testing.assert_array_equal(quotient[[0, 2]], np.array([numerator[0] / 2.0, numerator[2] / -0.5]))
    np.testing.assert_array_equal(divide(numerator, np.array([1, 2, 4]))[2], numerator[2] / 4)


def test_a_row_with_a_number_that_is_not_finite_is_none() -> None:
    nan, inf = math.nan, math.inf
    assert plain(np.array([1.0, nan, -inf, 2.0])) == [1.0, None, None, 2.0]
    assert plain(np.array([[1.0, 2.0], [nan, 2.0], [3.0, inf]])) == [[1.0, 2.0], None, None]
    assert plain(np.array([[[1.0], [2.0]], [[nan], [2.0]]])) == [[[1.0], [2.0]], None]
    assert plain(np.zeros((0, 3))) == []
