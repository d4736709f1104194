"""Agreement with pandas, which computes the same by other means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators import Ewma, Mean, MovingMean, Operator
from operators.columns.grouping import Floats
from tests.operators.driver import Driver

RNG = np.random.default_rng(20)
X = RNG.normal(size=700)
TICKS = 1_700_000_000 * 512 + np.cumsum(RNG.integers(1, 2000, 700))
TIMES = TICKS / 512
NANOSECONDS = (TICKS - TICKS[0]) * (10**9 // 512)  # from 0, since pandas takes them as floats


def results(operator: Operator) -> Floats:
    driver = Driver(operator, {"value": ()})
    result = driver.fold_in_batches(np.zeros(700, int), {"value": X}, TIMES, [1, 2, 10, 400])
    assert isinstance(result, np.ndarray)
    return np.asarray(result, float)


def series(**index: Any) -> Any:
    return pd.Series(X, **index)


def test_the_cumulative_mean() -> None:
    np.testing.assert_allclose(results(Mean(value="x")), series().expanding().mean(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("full", [1, 30])
def test_a_rolling_mean(full: int) -> None:
    wanted = series().rolling(30, min_periods=full).mean()
    np.testing.assert_allclose(results(MovingMean(value="x", window=30, min_count=full)), wanted, atol=1e-14)


@pytest.mark.parametrize("adjust", [True, False])
def test_an_ewma_by_arrival(adjust: bool) -> None:
    for options in ({"alpha": 0.07}, {"span": 25.0}, {"alpha": 0.9}):
        wanted = series().ewm(**options, adjust=adjust).mean()
        np.testing.assert_allclose(results(Ewma(value="x", adjust=adjust, **options)), wanted, atol=1e-13)  # type: ignore[arg-type]


def test_an_ewma_by_time() -> None:
    times = pd.to_datetime(NANOSECONDS)
    wanted = series().ewm(halflife=pd.Timedelta("45s"), times=times).mean()
    np.testing.assert_allclose(results(Ewma(value="x", half_life="45s")), wanted, atol=1e-14)
