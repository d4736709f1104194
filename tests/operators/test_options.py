"""Options that can't be used, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from operators import (
    Cusum,
    Ewma,
    Fifo,
    GatedDeltaRule,
    KvMean,
    KvWindow,
    LinearAttention,
    Mean,
    MovingMean,
    OperatorError,
    Quantile,
    Retention,
    Sum,
    Var,
    WeightedMovingMean,
)
from operators.duration import seconds

KV: dict[str, Any] = {"key": "k", "value": "v"}
Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("make", "options", "option", "said"),
    [
        (Mean, {"value": ""}, "value", "found '', expected the name of a field"),
        (Mean, {"value": []}, "value", "found [], expected the name of a field"),
        (Mean, {"value": ["a", 3]}, "value", "found ['a', 3], expected"),
        (Mean, {"value": "x", "publish": "all"}, "publish", '"readout", "state", "both"'),
        (MovingMean, {"value": "x", "window": 0}, "window", "found 0, expected a whole number of events, at least 1"),
        (MovingMean, {"value": "x", "window": 2.0}, "window", "found 2.0, expected a whole number"),
        (MovingMean, {"value": "x", "window": True}, "window", "found True, expected a whole number"),
        (MovingMean, {"value": "x", "window": 3, "min_count": 4}, "min_count", "found 4, expected"),
        (MovingMean, {"value": "x", "window": 3, "min_count": 0}, "min_count", "from 1 to 3"),
        (WeightedMovingMean, {"value": "x", "weights": []}, "weights", "found [], expected a list of finite numbers"),
        (WeightedMovingMean, {"value": "x", "weights": "123"}, "weights", "found '123', expected a list"),
        (WeightedMovingMean, {"value": "x", "weights": [1, -1]}, "weights", "found [1.0, -1.0], which sum to 0"),
        (WeightedMovingMean, {"value": "x", "weights": [0.1, 0.2, -0.3]}, "weights", "which sum to 0"),
        (WeightedMovingMean, {"value": "x", "weights": [1, float("inf")]}, "weights", "found inf, expected"),
        (WeightedMovingMean, {"value": "x", "weights": [1, True]}, "weights", "found True, expected"),
        (WeightedMovingMean, {"value": "x", "weights": [1, 2], "min_count": 3}, "min_count", "from 1 to 2"),
        (Ewma, {"value": "x"}, "alpha", "found none of them, expected exactly one of alpha, half_life, span"),
        (Ewma, {"value": "x", "alpha": 0.1, "span": 3}, "span", "found alpha and span, expected exactly one"),
        (Ewma, {"value": "x", "alpha": 0.0}, "alpha", "found 0.0, expected a number above 0, at most 1"),
        (Ewma, {"value": "x", "alpha": 1.5}, "alpha", "found 1.5, expected a number above 0, at most 1"),
        (Ewma, {"value": "x", "alpha": "fast"}, "alpha", "found 'fast', expected a number"),
        (Ewma, {"value": "x", "span": 0.5}, "span", "found 0.5, expected a number of at least 1"),
        (Ewma, {"value": "x", "half_life": "30"}, "half_life", "found '30', expected a duration such as"),
        (Ewma, {"value": "x", "half_life": "0s"}, "half_life", "found '0s', expected a duration above 0"),
        (Ewma, {"value": "x", "half_life": -1.0}, "half_life", "found -1.0, expected a duration above 0"),
        (Ewma, {"value": "x", "half_life": True}, "half_life", "found True, expected a duration"),
        (Ewma, {"value": "x", "half_life": "1s", "adjust": False}, "adjust", "found false beside half_life"),
        (Ewma, {"value": "x", "alpha": 0.1, "adjust": "no"}, "adjust", "found 'no', expected true or false"),
        (MovingMean, {"value": "x", "window": "36501d"}, "window", "expected a duration from 0.001ms to 36500d"),
        (MovingMean, {"value": "x", "window": "0.0005ms"}, "window", "expected a duration from 0.001ms to 36500d"),
        (MovingMean, {"value": "x", "window": "5m", "panes": 1001}, "panes", "found 1001, expected"),
        (Sum, {"value": "x", "min_count": -1}, "min_count", "found -1, expected"),
        (Cusum, {"value": "x", "drift": -0.5}, "drift", "found -0.5, expected"),
        (KvMean, {"key": "k", "value": 3}, "value", "found 3, expected the name of a field"),
        (KvMean, {**KV, "query": ()}, "query", "found (), expected the name of a field"),
        (KvWindow, {**KV, "window": "5m"}, "window", "found '5m', expected a whole number of events"),
        (KvWindow, {**KV, "window": 3, "readout": "now"}, "readout", 'expected one of "after", "before"'),
        (LinearAttention, {**KV, "feature_map": "elu"}, "feature_map", '"identity", "elu1", "relu", "relu2"'),
    ],
)
def test_a_wrong_option_is_named(make: Make, options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        make(**options)
    assert caught.value.option == option
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Ewma, {"value": "x", "alpha": 1}),
        (Ewma, {"value": "x", "span": 1}),
        (MovingMean, {"value": "x", "window": 1, "min_count": 1}),
        (MovingMean, {"value": "x", "window": "36500d", "panes": 1000}),
        (MovingMean, {"value": "x", "window": "0.001ms", "max_events": 1, "min_count": 1}),
        (WeightedMovingMean, {"value": "x", "weights": [1, 2], "min_count": 2}),
        (Sum, {"value": "x", "min_count": 0}),
        (Var, {"value": "x", "ddof": 0}),
        (Quantile, {"value": "x", "accuracy": 1e-6, "bins": 8}),
        (Quantile, {"value": "x", "q": [0, 1]}),
        (Cusum, {"value": "x", "drift": 0}),
        (Retention, {**KV, "gamma": 1}),
        (GatedDeltaRule, {**KV, "rate": 0.5, "gamma": 1}),
        (KvWindow, {**KV, "window": 1, "sinks": 0}),
        (Fifo, {**KV, "window": 1, "segment": 1, "compressed": 1}),
    ],
)
def test_the_ends_of_a_range_can_be_used(make: Make, options: dict[str, Any]) -> None:
    assert make(**options).inputs()


@pytest.mark.parametrize("make", [KvMean, LinearAttention, lambda **options: KvWindow(window=2, **options)])
def test_inputs_that_do_not_fit_are_named(make: Make) -> None:
    for shapes, option in (
        ({"key": (), "value": (1,)}, "key"),
        ({"key": (2,), "value": ()}, "value"),
        ({"key": (2,), "value": (1,), "query": (3,)}, "query"),
    ):
        with pytest.raises(OperatorError) as caught:
            make(**KV, query="q").layout(shapes)
        assert caught.value.option == option


def test_lists_of_fields_are_kept_as_tuples() -> None:
    operator = KvMean(key=["rpm", "temp"], value="power")
    assert operator.inputs() == {"key": ("rpm", "temp"), "value": "power"}
    assert operator == KvMean(key=("rpm", "temp"), value="power")
    assert hash(operator) == hash(KvMean(key=("rpm", "temp"), value="power"))


def test_a_query_of_its_own_is_an_input() -> None:
    assert KvMean(**KV, query="q").inputs() == {"key": "k", "value": "v", "query": "q"}


@pytest.mark.parametrize(
    ("text", "length"), [("250ms", 0.25), ("30s", 30), ("1.5m", 90), ("12h", 43_200), ("7d", 604_800), ("0s", 0)]
)
def test_durations(text: str, length: float) -> None:
    assert seconds(text) == length
    if length:
        assert Ewma(value="x", half_life=text) == Ewma(value="x", half_life=float(length))


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 s", "1e3s", "5min", "1h30m", "٣s", ".5s", "5s\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        seconds(text)
