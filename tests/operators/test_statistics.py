"""Statistics of all events: numbers worked by hand, other libraries, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators import (
    Corr,
    Cov,
    Ewvar,
    First,
    Last,
    Max,
    Mean,
    Memory,
    Min,
    Operator,
    OperatorError,
    Std,
    Sum,
    Var,
    WeightedMean,
    ZScore,
)
from operators.columns.grouping import Floats
from tests.operators.one_key import MARKS, fold, read

# By hand


def test_a_variance_and_a_deviation() -> None:
    memory, results = fold(Var(value="x", ddof=0), x=MARKS)
    assert results[:2].tolist() == [0.0, 1.0]
    assert read(memory) == 4.0
    assert memory.export() == [{"count": 8, "mean": 5.0, "var": 4.0}]
    memory, results = fold(Std(value="x"), x=MARKS)
    assert np.isnan(results[0])
    assert results[1] == math.sqrt(2)
    assert memory.export() == [{"count": 8, "mean": 5.0, "std": math.sqrt(32 / 7)}]


def test_a_score_is_measured_by_the_events_before() -> None:
    memory, results = fold(ZScore(value="x"), x=[1.0, 2.0, 3.0, 4.0, 1e9, 2.0])
    assert np.isnan(results[:2]).all()
    assert results[2] == (3.0 - 1.5) / math.sqrt(0.5)
    assert results[3] == 2.0
    assert results[4] == pytest.approx((1e9 - 2.5) / math.sqrt(5 / 3), rel=1e-15)
    assert results[5] == read(memory) == pytest.approx(-1 / math.sqrt(5), rel=1e-8)


def test_a_score_among_ten_events_that_are_measured_with_it_is_never_3() -> None:
    x = [0.0] * 9 + [1e6]
    _, after = fold(ZScore(value="x", readout="after"), x=x)
    assert after[-1] == pytest.approx(9 / math.sqrt(10), rel=1e-15)
    _, before = fold(ZScore(value="x"), x=[0.0, 1.0] * 4 + [0.5, 1e6])
    assert before[-1] > 1e6


def test_events_that_are_all_equal_measure_nothing() -> None:
    memory, results = fold(ZScore(value="x"), x=[0.1] * 5 + [7.0, 7.0])
    assert np.isnan(results[:6]).all()
    assert results[6] > 0
    state = memory.export()[0]
    assert state.pop("mean") == pytest.approx(14.5 / 7, rel=1e-15)
    assert state.pop("std") == pytest.approx(np.std([0.1] * 5 + [7.0, 7.0], ddof=1), rel=1e-14)
    assert state == {"count": 7, "newest": 7.0}


def test_a_covariance_and_a_correlation() -> None:
    x, y = [1.0, 2.0, 3.0], [2.0, 4.0, 9.0]
    memory, results = fold(Cov(value="x", other="y"), x=x, y=y)
    assert np.isnan(results[0])
    assert results[1:].tolist() == [1.0, 3.5]
    assert memory.export() == [{"count": 3, "mean": 2.0, "other_mean": 5.0, "cov": 3.5}]
    memory, results = fold(Corr(value="x", other="y"), x=x, y=y)
    assert np.isnan(results[0])
    assert results[1] == 1.0
    assert results[2] == pytest.approx(3.5 / math.sqrt(13), rel=1e-15)
    assert memory.export()[0]["corr"] == results[2]
    _, falling = fold(Corr(value="x", other="y"), x=x, y=[-1.0, -2.0, -3.0])
    assert falling[1:].tolist() == [-1.0, -1.0]


def test_no_rounding_takes_a_correlation_beyond_1() -> None:
    x = np.array([0.1, 0.2, 0.4])
    for slope in (3.0, -3.0):
        _, results = fold(Corr(value="x", other="y"), x=x, y=slope * x)
        assert results[-1] == math.copysign(1.0, slope)


def test_matrices_have_a_row_for_each_number_of_value() -> None:
    v, w = np.array([[1.0, 2.0], [2.0, 0.0], [4.0, 1.0]]), np.array([[0.0], [3.0], [3.0]])
    _, matrix = fold(Cov(value="v"), vectors={"v": 2}, v=v)
    np.testing.assert_allclose(matrix[-1], np.cov(v.T), rtol=1e-15)
    _, cross = fold(Cov(value="v", other="w"), vectors={"v": 2, "w": 1}, v=v, w=w)
    assert cross.shape == (3, 2, 1)
    np.testing.assert_allclose(cross[-1], np.cov(v.T, w.T)[:2, 2:], rtol=1e-15)
    _, row = fold(Cov(value="w", other=["a", "b"]), vectors={"w": 1}, w=w, a=v[:, 0], b=v[:, 1])
    np.testing.assert_array_equal(row[1:], cross[1:].swapaxes(1, 2))
    _, numbers = fold(Corr(value=["a", "b"]), a=v[:, 0], b=v[:, 1])
    np.testing.assert_allclose(numbers[-1], np.corrcoef(v.T), rtol=1e-15)
    assert numbers[-1].diagonal().tolist() == [1.0, 1.0]
    assert (numbers[-1] == numbers[-1].T).all()


def test_where_one_number_does_not_vary_only_its_correlations_are_undefined() -> None:
    _, matrix = fold(Corr(value="v"), vectors={"v": 3}, v=[[1.0, 5.0, 1.0], [2.0, 5.0, 0.0]])
    wanted = [[1.0, math.nan, -1.0], [math.nan] * 3, [-1.0, math.nan, 1.0]]
    np.testing.assert_array_equal(matrix[-1], wanted)


def test_weights() -> None:
    memory, results = fold(WeightedMean(value="x", weight="w"), x=[10.0, 20.0, 60.0, 5.0], w=[0.0, 1.0, 3.0, -4.0])
    assert np.isnan(results[0])
    assert results[1:3].tolist() == [20.0, 50.0]
    assert np.isnan(results[3])
    assert memory.export() == [{"count": 4, "weight": 0.0, "mean": None}]
    memory, _ = fold(WeightedMean(value="x", weight="w"), x=[1.0, 1.0, 1.0], w=[1e16, 1.0, 1.0])
    assert memory.export() == [{"count": 3, "weight": 1e16 + 2.0, "mean": 1.0}]


def test_a_sum() -> None:
    memory, results = fold(Sum(value="x"), x=[1e100, 1.0, -1e100, 2.0])
    assert results.tolist() == [1e100, 1e100, 1.0, 3.0]
    assert memory.export() == [{"count": 4, "sum": 3.0}]


def test_the_least_and_the_greatest() -> None:
    x = [3.0, -1.0, 7.0, -1e300]
    memory, least = fold(Min(value="x"), x=x)
    assert least.tolist() == [3.0, -1.0, -1.0, -1e300]
    assert memory.export() == [{"count": 4, "min": -1e300}]
    memory, greatest = fold(Max(value="x"), x=x)
    assert greatest.tolist() == [3.0, 3.0, 7.0, 7.0]
    assert memory.export() == [{"count": 4, "max": 7.0}]


def test_the_first_and_the_last_are_by_time_and_then_by_arrival() -> None:
    x, times = [1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 5.0, 20.0, 5.0, 20.0]
    memory, first = fold(First(value="x"), times, x=x)
    assert first.tolist() == [1.0, 2.0, 2.0, 2.0, 2.0]
    assert memory.export() == [{"count": 5, "time": 5.0, "value": 2.0}]
    memory, last = fold(Last(value="x"), times, x=x)
    assert last.tolist() == [1.0, 1.0, 3.0, 3.0, 5.0]
    assert memory.export() == [{"count": 5, "time": 20.0, "value": 5.0}]


@pytest.mark.parametrize("operator", [First(value="x"), Last(value="x")])
def test_a_later_batch_counts_as_later_arrivals(operator: Operator) -> None:
    memory, _ = fold(operator, [5.0], x=[1.0])
    again, _ = fold(operator, [5.0], x=[2.0])
    memory.merge(again)
    wanted = 1.0 if isinstance(operator, First) else 2.0
    assert read(memory) == wanted
    assert memory.fold(["a"], {"x": [3.0]}, [5.0]) == (1.0 if isinstance(operator, First) else 3.0)
    assert memory.fold(["a"], {"x": [4.0]}, [-5.0]) == (4.0 if isinstance(operator, First) else 3.0)
    assert memory.export()[0]["count"] == 4


def test_times_before_1970_and_a_first_event_at_time_0() -> None:
    _, last = fold(Last(value="x"), [-9.0, -8.0, 0.0, -1.0], x=[1.0, 2.0, 3.0, 4.0])
    assert last.tolist() == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("least", [1, 3, 9])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: Sum(value="x", min_count=n),
        lambda n: Var(value="x", ddof=0, min_count=n),
        lambda n: Std(value="x", ddof=0, min_count=n),
        lambda n: Min(value="x", min_count=n),
        lambda n: Max(value="x", min_count=n),
        lambda n: WeightedMean(value="x", weight="x", min_count=n),
        lambda n: Cov(value="x", other="x", ddof=0, min_count=n),
    ],
)
def test_there_is_no_result_of_too_few_events(make: Callable[[int], Operator], least: int) -> None:
    memory = Memory(make(least))
    for size in (2, 5, 3):
        before = memory.export()[0]["count"] if len(memory) else 0
        results = memory.fold(["a"] * size, {"x": np.arange(1.0, size + 1.0)})
        assert np.isnan(results).tolist() == [before + i + 1 < least for i in range(size)]  # type: ignore[operator, arg-type]
        assert math.isnan(read(memory)) == (before + size < least)  # type: ignore[operator]


@pytest.mark.parametrize(
    "operator", [Sum(value="x"), Mean(value="x"), Min(value="x"), First(value="x"), Var(value="x")]
)
def test_a_key_without_events_has_a_state_of_its_own(operator: Operator) -> None:
    memory, _ = fold(operator, x=[1.0])
    (exported,) = memory.export()
    state = memory.state(["b"])
    with np.errstate(all="ignore"):
        (empty,) = operator.export(state)
    assert exported.keys() == empty.keys()
    assert empty.get("count", 0) == 0
    assert [value for name, value in empty.items() if name != "count"] == (
        [0.0] if isinstance(operator, Sum) else [None] * (len(empty) - 1)
    )


# Other libraries

RNG = np.random.default_rng(30)
X, Y, W = RNG.normal(size=500), RNG.normal(size=500), RNG.uniform(size=500)


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        (Sum(value="x"), pd.Series(X).cumsum()),
        (Var(value="x", min_count=3), pd.Series(X).expanding(3).var()),
        (Var(value="x", ddof=0), pd.Series(X).expanding().var(ddof=0)),
        (Std(value="x", ddof=2), pd.Series(X).expanding(3).std(ddof=2)),
        (Min(value="x", min_count=5), pd.Series(X).expanding(5).min()),
        (Max(value="x"), pd.Series(X).cummax()),
        (Cov(value="x", other="y"), pd.Series(X).expanding().cov(pd.Series(Y))),
        (Corr(value="x", other="y", min_count=3), pd.Series(X).expanding(3).corr(pd.Series(Y))),
        (Ewvar(value="x", alpha=0.07), pd.Series(X).ewm(alpha=0.07).var()),
        (Ewvar(value="x", span=25, bias=True), pd.Series(X).ewm(span=25).var(bias=True)),
        (WeightedMean(value="x", weight="w"), pd.Series(X * W).cumsum() / pd.Series(W).cumsum()),
        (
            ZScore(value="x", readout="after", min_count=5),
            (pd.Series(X) - pd.Series(X).expanding().mean()) / pd.Series(X).expanding(5).std(),
        ),
        (
            ZScore(value="x", min_count=3),
            (pd.Series(X) - pd.Series(X).expanding().mean().shift()) / pd.Series(X).expanding(3).std().shift(),
        ),
    ],
    ids=lambda part: type(part).__name__,
)
def test_pandas_gives_the_same(operator: Operator, wanted: Any) -> None:
    memory = Memory(operator)
    columns = {"x": X, "y": Y, "w": W}
    used = {name: column for name, column in columns.items() if name in operator.inputs().values()}
    results: list[Floats] = []
    for begin, end in ((0, 1), (1, 2), (2, 60), (60, 500)):
        part = {name: column[begin:end] for name, column in used.items()}
        results.append(memory.fold(["a"] * (end - begin), part))  # type: ignore[arg-type]
    np.testing.assert_allclose(np.concatenate(results), wanted, rtol=1e-10, atol=1e-12)


# What is refused


@pytest.mark.parametrize(
    ("make", "options", "option", "said"),
    [
        (
            Var,
            {"value": "x", "ddof": -1},
            "ddof",
            "found -1, expected a whole number of degrees of freedom, at least 0",
        ),
        (Std, {"value": "x", "ddof": 1.5}, "ddof", "found 1.5, expected a whole number"),
        (Cov, {"value": "x", "other": "y", "ddof": True}, "ddof", "found True, expected a whole number"),
        (ZScore, {"value": "x", "ddof": -1}, "ddof", "found -1, expected"),
        (ZScore, {"value": "x", "readout": "now"}, "readout", 'found \'now\', expected one of "before", "after"'),
        (ZScore, {"value": "x", "min_count": 0}, "min_count", "found 0, expected a whole number of events, at least 1"),
        (Var, {"value": "x", "min_count": 0}, "min_count", "at least 1"),
        (Min, {"value": "x", "min_count": 0}, "min_count", "at least 1"),
        (Max, {"value": "x", "min_count": "3"}, "min_count", "found '3', expected"),
        (Corr, {"value": "x", "other": "y", "min_count": 0}, "min_count", "at least 1"),
        (Sum, {"value": "x", "min_count": -1}, "min_count", "found -1, expected a whole number of events, at least 0"),
        (WeightedMean, {"value": "x", "weight": "w", "min_count": 0}, "min_count", "at least 1"),
        (WeightedMean, {"value": "x", "weight": ""}, "weight", "found '', expected the name of a field"),
        (Cov, {"value": "x", "other": 3}, "other", "found 3, expected the name of a field"),
    ],
)
def test_a_wrong_option_is_named(make: Any, options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        make(**options)
    assert caught.value.option == option
    assert said in str(caught.value)


@pytest.mark.parametrize("make", [Cov, Corr])
def test_a_single_number_varies_with_nothing(make: Any) -> None:
    with pytest.raises(OperatorError, match="is missing, expected what the number 'x' is to vary with") as caught:
        Memory(make(value="x"))
    assert caught.value.option == "other"


def test_a_weight_is_a_number() -> None:
    with pytest.raises(OperatorError, match=r"found the vector \('a', 'b'\), expected the name of a number") as caught:
        Memory(WeightedMean(value="x", weight=["a", "b"]))
    assert caught.value.option == "weight"
