"""Arithmetic with 32 digits, against fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.double_double import DoubleDouble, two_product

number = st.floats(-1e60, 1e60).filter(lambda x: x == 0 or abs(x) > 1e-60)
fine = st.tuples(number, st.floats(-1e-17, 1e-17).filter(lambda x: x == 0 or abs(x) > 1e-40))
"""A double, and what is beside it, relative to it."""


def made(given: tuple[float, float]) -> DoubleDouble:
    high, part = given
    return DoubleDouble.sum(np.array([high]), np.array([high * part]))


def exact(x: DoubleDouble) -> Fraction:
    return Fraction(float(x.high[0])) + Fraction(float(x.low[0]))


def check(got: DoubleDouble, wanted: Fraction, size: Fraction) -> None:
    assert abs(exact(got) - wanted) <= size * Fraction(2) ** -102
    assert got.high[0] == got.rounded[0]


@given(number, number)
def test_a_product_of_doubles_and_its_error(a: float, b: float) -> None:
    product, error = two_product(np.array([a]), np.array([b]))
    assert product[0] == a * b
    assert Fraction(float(product[0])) + Fraction(float(error[0])) == Fraction(a) * Fraction(b)


@given(number)
def test_a_square_and_its_error(a: float) -> None:
    x = np.array([a])
    assert two_product(x, x) == two_product(x, x.copy())


@given(fine, fine)
def test_sums_and_differences(a: tuple[float, float], b: tuple[float, float]) -> None:
    x, y = made(a), made(b)
    size = abs(exact(x)) + abs(exact(y))
    check(x + y, exact(x) + exact(y), size)
    check(x - y, exact(x) - exact(y), size)


@given(fine, fine, number)
def test_products(a: tuple[float, float], b: tuple[float, float], factor: float) -> None:
    x, y = made(a), made(b)
    check(x * y, exact(x) * exact(y), abs(exact(x) * exact(y)))
    check(x * x, exact(x) ** 2, exact(x) ** 2)
    scaled = exact(x) * Fraction(factor)
    check(x.times(np.array([factor])), scaled, abs(scaled))


@given(fine, number.filter(bool))
def test_quotients(a: tuple[float, float], divisor: float) -> None:
    quotient = exact(made(a)) / Fraction(divisor)
    check(made(a).over(np.array([divisor])), quotient, abs(quotient))


def test_rows() -> None:
    x = DoubleDouble.sum(np.arange(1.0, 7.0).reshape(3, 2), np.full((3, 2), 1e-20))
    assert x[:] is x
    assert x[np.array([2, 0])].high.tolist() == [[5.0, 6.0], [1.0, 2.0]]
    both = x[1:].above(x[:1])
    assert both.high.tolist() == [[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]]
    assert both.low.tolist() == [[1e-20] * 2] * 3
    assert (both - both).high.tolist() == [[0.0, 0.0]] * 3
