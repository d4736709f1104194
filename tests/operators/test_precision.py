"""What keeps the last digits right over many batches, tried where plain arithmetic would lose them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from operators import Count, Ewma, Ewvar, LinearAttention, Mean, Memory, MovingMean, Operator, Sum, Var
from operators.columns.grouping import group
from operators.columns.scan import running_sums
from tests.operators.catalogue import expect
from tests.operators.driver import Driver, parts
from tests.operators.oracle import History, assert_close


@pytest.mark.parametrize("length", [1, 3, 9, 100])
def test_a_sum_goes_on_with_what_was_lost_before(length: int) -> None:
    _, groups = group(np.zeros(length, np.int64))
    high, low = np.array([1e16]), np.array([0.75])
    running_sums(groups, high, low, np.full(length, 0.25), each=False)
    assert math.fsum([high[0], low[0], -1e16]) == 0.75 + 0.25 * length


def test_a_slow_ewma_is_exact_after_thousands_of_batches() -> None:
    operator = Ewma(value="x", alpha=1e-5)
    x = np.random.default_rng(0).uniform(1, 2, 4000)
    driver = Driver(operator, {"value": ()})
    for i in range(4000):
        driver.fold([0], {"value": x[i : i + 1]}, each=False)
    expected = expect(operator, History({"value": x}, np.arange(4000.0)))
    assert_close(parts(driver.read())[""][0], expected.value, expected.size, tolerance=4e-16)


def test_events_before_1970_weigh_as_others_do() -> None:
    operator = Ewma(value="x", half_life="1s")
    x, times = np.arange(1.0, 21.0), -1e6 + np.arange(20.0)
    driver = Driver(operator, {"value": ()})
    got = driver.fold([0] * 20, {"value": x}, times)
    expected = expect(operator, History({"value": x}, times))
    assert isinstance(got, np.ndarray)
    assert_close(got[-1], expected.value, expected.size)


def test_mu_and_nu_are_exact_after_thousands_of_batches() -> None:
    rng = np.random.default_rng(1)
    keys, values = rng.uniform(size=(2000, 2)), rng.uniform(size=(2000, 1))
    driver = Driver(LinearAttention(key="k", value="v", feature_map="identity"), {"key": (2,), "value": (1,)})
    for i in range(2000):
        driver.fold([0], {"key": keys[i : i + 1], "value": values[i : i + 1]}, each=False)
    state = driver.export()
    for j in range(2):
        assert state["nu"][j] == pytest.approx(math.fsum(keys[:, j]), rel=2.3e-16, abs=0)
        assert state["mu"][j][0] == pytest.approx(math.fsum(keys[:, j] * values[:, 0]), rel=2.3e-16, abs=0)


def test_a_window_that_was_summed_afresh_is_trusted_again() -> None:
    driver = Driver(MovingMean(value="x", window=4), {"value": ()})
    driver.fold([0] * 3, {"value": [1e300, 1e200, 1.0]})
    assert driver.fields["drift"][0] > 1.0
    driver.fold([0] * 6, {"value": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})
    assert driver.fields["drift"][0] < 1e-15
    assert parts(driver.read())[""][0] == math.fsum([0.3, 0.4, 0.5, 0.6]) / 4


def test_exact_cancellation_is_no_doubt() -> None:
    driver = Driver(MovingMean(value="x", window=4), {"value": ()})
    driver.fold([0] * 40, {"value": [1.0, -1.0] * 20})
    assert driver.fields["drift"][0] == 0.0
    assert parts(driver.read())[""][0] == 0.0


@pytest.mark.parametrize("alpha", [0.5, 0.25])
def test_a_fading_variance_far_from_0_has_all_its_digits(alpha: float) -> None:
    x = [1e8 + 2.0**-26 * step for step in (0, 1, 0, 2, 1, 0, 3, 1)]
    got = Driver(Ewvar(value="x", alpha=alpha, bias=True), {"value": ()}).fold(np.zeros(8, int), {"value": np.array(x)})
    for n, variance in enumerate(np.asarray(got).tolist(), 1):
        weights = [(1 - Fraction(alpha)) ** (n - 1 - i) for i in range(n)]
        mean = sum(w * Fraction(value) for w, value in zip(weights, x, strict=False)) / sum(weights)
        square = sum(w * (Fraction(value) - mean) ** 2 for w, value in zip(weights, x, strict=False))
        assert variance == pytest.approx(float(square / sum(weights)), rel=1e-12, abs=0.0)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (Count(), Fraction(10**9 + 1)),
        (Sum(value="x"), Fraction(1500 * 10**9 + 2500)),
        (Mean(value="x"), Fraction(1500 * 10**9 + 2500, 10**9 + 1)),
        # The sample variance of n equal numbers and one at a distance d from them is d^2 / (n + 1).
        (Var(value="x"), Fraction(1000**2, 10**9 + 1)),
    ],
)
def test_an_event_after_a_thousand_million_counts_for_what_it_is(operator: Operator, expected: Fraction) -> None:
    memory = Memory(operator)
    memory.fold(["k"] * 15_625, {"x": np.full(15_625, 1500.0)}, each=False)
    for _ in range(6):  # 15,625 = 5^6, and 10^9 = 5^6 * 2^6 * 10^3
        memory.merge(Memory.from_bytes(memory.to_bytes(), operator))
    thousandth = memory.to_bytes()
    for _ in range(999):
        memory.merge(Memory.from_bytes(thousandth, operator))
    memory.fold(["k"], {"x": np.array([2500.0])}, each=False)
    (result,) = parts(memory.read(["k"]))[""].tolist()
    assert abs(Fraction(result) - expected) <= Fraction(1, 10**12) * expected
