"""What has left a window leaves no trace, whatever its size, and what is in it keeps all its digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators import MovingMax, MovingMin, MovingStd, MovingSum, MovingVar
from tests.operators.driver import Driver
from tests.operators.families.windows import STATISTICS, fold, variance

every_statistic = pytest.mark.parametrize("name", STATISTICS)


@pytest.mark.parametrize("options", [{"window": 8}, {"window": "8s"}, {"window": "8s", "max_events": 50}])
@pytest.mark.parametrize("spike", [1e15, -1e145])
def test_a_spike_that_has_left_is_in_no_variance(options: Any, spike: float) -> None:
    x = np.random.default_rng(3).normal(size=60)
    x[[0, 20, 21]] = spike, spike, 1e9
    for cuts in ([], [20, 21, 22, 28, 29], range(60)):
        driver = Driver(MovingVar(value="x", **options), {"value": ()})
        got = np.asarray(driver.fold_in_batches(np.zeros(60, int), {"value": x}, np.arange(60.0), cuts), float)
        for i in range(1, 60):
            assert got[i] == pytest.approx(variance(x[max(0, i - 7) : i + 1].tolist(), 1), rel=1e-12), i


@pytest.mark.parametrize("options", [{"window": 8}, {"window": "8s"}, {"window": "8s", "max_events": 50}])
@pytest.mark.parametrize("level", [0.0, 700.0, 1e5, 1e9, 1e15])
def test_a_variance_has_all_its_digits_at_any_level(options: Any, level: float) -> None:
    x = np.repeat([0.0, level, -level], 40) + np.random.default_rng(4).normal(size=120)
    got = fold(MovingVar(value="x", **options), x, np.arange(120.0))
    for i in range(1, 120):
        assert got[i] == pytest.approx(variance(x[max(0, i - 7) : i + 1].tolist(), 1), rel=2e-13), i


@pytest.mark.parametrize("options", [{"window": 8}, {"window": "8s"}, {"window": "8s", "max_events": 50}])
def test_what_the_roundings_of_a_sum_lost_is_kept(options: Any) -> None:
    operator = MovingSum(value="x", **options)
    assert fold(operator, [1e16, 1.0, 1.0, -1e16], np.arange(4.0)).tolist() == [1e16, 1e16, 1e16 + 2, 2.0]
    x = [1e16, *[0.7] * 12]
    assert fold(operator, x, np.arange(13.0))[8:] == pytest.approx([8 * 0.7] * 5, rel=1e-15)


@pytest.mark.parametrize("options", [{"window": 5}, {"window": "5s"}, {"window": "5s", "max_events": 50}])
def test_equal_events_have_no_variance_at_all(options: Any) -> None:
    for cls in (MovingVar, MovingStd):
        x = np.repeat([0.1, 1e15 / 3, -7.7], 20)
        got = fold(cls(value="x", **options), x, np.arange(60.0))
        for first in (0, 20, 40):
            assert got[first + 4 : first + 20].tolist() == [0.0] * 16


def test_a_moving_variance_is_exact_after_thousands_of_batches() -> None:
    x = np.cumsum(np.random.default_rng(5).normal(size=5000))
    driver = Driver(MovingVar(value="x", window=16), {"value": ()})
    for i in range(5000):
        driver.fold([0], {"value": x[i : i + 1]}, each=False)
    assert np.asarray(driver.read())[0] == pytest.approx(variance(x[-16:].tolist(), 1), rel=1e-14)


def test_what_can_not_be_squared_is_refused_and_harms_nothing() -> None:
    for window in (3, "3s"):
        driver = Driver(MovingVar(value="x", window=window), {"value": ()})
        for x, time in ((1e200, 0.0), (1.0, 1.0), (-1e180, 2.0), (3.0, 3.0)):
            if abs(x) > 1e150:
                with pytest.raises(OverflowError):
                    driver.fold([0], {"value": [x]}, [time])
            else:
                driver.fold([0], {"value": [x]}, [time])
        assert np.asarray(driver.read()).tolist() == [2.0]
        assert driver.fields["count"].tolist() == [2]
    exact = MovingVar(value="x", window="3s", max_events=9)
    got = fold(exact, [1.0, 1e200, 3.0, 5.0, 7.0], np.arange(5.0))
    assert not np.isfinite(got[1:4]).any()
    assert got[4] == 4.0


@pytest.mark.parametrize("options", [{"panes": 2}, {"max_events": 9}])
def test_a_sum_beyond_all_numbers_is_no_result_until_it_is_one_again(options: Any) -> None:
    got = fold(MovingSum(value="x", window="2s", **options), [1e308, 1.5e308, 1.0, 2.0], np.arange(4.0))
    assert not np.isfinite(got[1])
    assert got[[0, 2, 3]].tolist() == [1e308, 1.5e308, 3.0]


def test_a_sum_of_so_many_events_beyond_all_numbers_is_refused() -> None:
    driver = Driver(MovingSum(value="x", window=2), {"value": ()})
    driver.fold([0], {"value": [1e308]})
    with pytest.raises(OverflowError):
        driver.fold([0], {"value": [1.5e308]})


def test_the_only_least_leaves_and_equal_ones_stay() -> None:
    assert fold(MovingMin(value="x", window=3), [1, 5, 4, 6, 7, 4, 4, 9]).tolist() == [1, 1, 1, 4, 4, 4, 4, 4]
    assert fold(MovingMin(value="x", window=2), [3, 3, 3, 4, 4, 1]).tolist() == [3, 3, 3, 3, 4, 1]
    assert fold(MovingMax(value="x", window=2), [[3, -1], [3, -5], [1, -9]]).tolist() == [[3, -1], [3, -1], [3, -5]]


@every_statistic
def test_keys_beside_each_other_are_put_together_afresh_alone(name: str) -> None:
    rng = np.random.default_rng(6)
    keys, x = rng.integers(0, 50, 3000), rng.normal(size=3000).round(1)
    x[rng.integers(0, 3000, 40)] = 1e12
    operator = STATISTICS[name](value="x", window=6)
    got = Driver(operator, {"value": ()}, 50).fold_in_batches(keys, {"value": x}, np.zeros(3000), [10, 1000, 1001])
    for key in range(50):
        at = np.flatnonzero(keys == key)
        alone = fold(operator, x[at])
        np.testing.assert_allclose(np.asarray(got)[at], alone, rtol=1e-12, atol=1e-15)
