"""Statistics of the newest events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from operators import MovingMax, MovingMean, MovingMin, MovingStd, MovingSum, MovingVar, Operator, WeightedMovingMean
from operators.columns.grouping import Floats
from operators.duration import seconds
from operators.windows.moving import Moving
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.driver import Driver
from tests.operators.oracle import Expected, History, Oracles, weighted_mean

MICROSECONDS = 1_000_000

STATISTICS: dict[str, type[Moving]] = {
    "sum": MovingSum,
    "mean": MovingMean,
    "min": MovingMin,
    "max": MovingMax,
    "var": MovingVar,
    "std": MovingStd,
}


def fold(operator: Operator, x: Any, times: Any = None) -> Floats:
    """Fold all events of one key at once; every event's result."""
    inputs = np.asarray(x, float)
    result = Driver(operator, {"value": inputs.shape[1:]}).fold([0] * len(inputs), {"value": inputs}, times)
    return np.asarray(result, float)


def window(operator: Moving, history: History) -> Floats:
    """The inputs that are in the window of a history's last event."""
    inputs = history.columns["value"]
    if not isinstance(operator.window, str):
        return inputs[-operator.window :]
    span, both = round(seconds(operator.window) * MICROSECONDS), operator.closed == "both"
    times = [round(time * MICROSECONDS) for time in history.time.tolist()]
    if operator.max_events is not None:
        oldest = max(times) - span
        inside = [time > oldest or (both and time == oldest) for time in times]
        inside[: -operator.max_events] = [False] * len(inside[: -operator.max_events])
        return inputs[inside]
    count = operator.panes or 60
    panes = [time * count // span if both else -(-time * count // span) for time in times]
    passed = max(panes) - count - both
    return inputs[[pane > passed for pane in panes]]


def _oracle(statistic: Callable[[Any, list[float]], tuple[float, float]]) -> Callable[[Moving, History], Expected]:
    """What a statistic of a list of numbers, with its size, gives for each element of the inputs in the window."""

    def expected(operator: Moving, history: History) -> Expected:
        inputs = window(operator, history)
        shape = inputs.shape[1:]
        if len(inputs) < operator.min_count:
            return Expected(np.full(shape, math.nan), np.zeros(shape))
        results = [statistic(operator, line) for line in inputs.reshape(len(inputs), -1).T.tolist()]
        value, size = np.array(results).T
        return Expected(value.reshape(shape), size.reshape(shape))

    return expected


def _sum(operator: Moving, inputs: list[float]) -> tuple[float, float]:
    return math.fsum(inputs), math.fsum(map(abs, inputs))


def _mean(operator: Moving, inputs: list[float]) -> tuple[float, float]:
    total, size = _sum(operator, inputs)
    return total / len(inputs), size / len(inputs)


def variance(inputs: Sequence[float], ddof: int) -> float:
    """The variance of numbers, exact but for one rounding; NaN if there are too few."""
    if len(inputs) <= ddof:
        return math.nan
    exact = [Fraction(x) for x in inputs]
    mean = sum(exact) / len(exact)
    return float(sum((x - mean) ** 2 for x in exact) / (len(exact) - ddof))


def _var(operator: MovingVar, inputs: list[float]) -> tuple[float, float]:
    return variance(inputs, operator.ddof), 0.0


def _std(operator: MovingStd, inputs: list[float]) -> tuple[float, float]:
    return math.sqrt(variance(inputs, operator.ddof)), 0.0


def _weighted_moving_mean(operator: WeightedMovingMean, history: History) -> Expected:
    inputs = history.columns["value"][-len(operator.weights) :]
    weights = list(operator.weights)[len(operator.weights) - len(inputs) :]
    return weighted_mean(inputs, weights if len(inputs) >= operator.min_count else [0.0] * len(inputs))


ORACLES: Oracles = {
    MovingMax: _oracle(lambda operator, inputs: (max(inputs), 0.0)),
    MovingMean: _oracle(_mean),
    MovingMin: _oracle(lambda operator, inputs: (min(inputs), 0.0)),
    MovingStd: _oracle(_std),
    MovingSum: _oracle(_sum),
    MovingVar: _oracle(_var),
    WeightedMovingMean: _weighted_moving_mean,
}


def _case(name: str, operator: Moving, tenths: float | None, *, vector: bool = False) -> Case:
    """Sums of squares overflow after a spike of 1e300; a tenth is a tenth in all but sums and variances."""
    squares = isinstance(operator, MovingVar)
    by_events, extreme = isinstance(operator.window, int), isinstance(operator, MovingMin | MovingMax)
    return Case(
        name,
        operator,
        VECTOR if vector else NUMBER,
        same_bits=extreme or (by_events and not squares),
        any_order=operator.algebra == "monoid",
        forgets=not squares,
        factors=2 if squares else 1,
        tenths=tenths,
    )


CASES = [
    _case("moving_mean-1", MovingMean(value="x", window=1), 0.1),
    _case("moving_mean-7", MovingMean(value="x", window=7), 0.1),
    _case("moving_mean-full", MovingMean(value="x", window=5, min_count=5), 0.1, vector=True),
    _case("moving_mean-256", MovingMean(value="x", window=256), 0.1),
    _case("moving_mean-panes", MovingMean(value="x", window="3s", panes=6), 0.1),
    _case("moving_mean-panes-both", MovingMean(value="x", window="700ms", panes=7, closed="both"), 0.1, vector=True),
    _case("moving_mean-exact", MovingMean(value="x", window="3s", max_events=100), None),
    _case("moving_mean-exact-both", MovingMean(value="x", window="2s", max_events=3, closed="both"), None, vector=True),
    _case("moving_sum-7", MovingSum(value="x", window=7, min_count=3), 0.7, vector=True),
    _case("moving_sum-panes", MovingSum(value="x", window="1m"), 6.0),
    _case("moving_sum-exact", MovingSum(value="x", window="5s", max_events=8, min_count=2), None),
    _case("moving_min-1", MovingMin(value="x", window=1), 0.1),
    _case("moving_min-5", MovingMin(value="x", window=5), 0.1, vector=True),
    _case("moving_min-panes", MovingMin(value="x", window="4s", panes=3), 0.1, vector=True),
    _case("moving_min-exact", MovingMin(value="x", window="6s", max_events=9), None),
    _case("moving_max-64", MovingMax(value="x", window=64), 0.1),
    _case("moving_max-panes", MovingMax(value="x", window="2s", panes=1), 0.1),
    _case("moving_max-exact", MovingMax(value="x", window="1500ms", max_events=4, closed="both"), None, vector=True),
    _case("moving_var-1", MovingVar(value="x", window=1, ddof=0), 0.0),
    _case("moving_var-9", MovingVar(value="x", window=9), 0.0, vector=True),
    _case("moving_var-panes", MovingVar(value="x", window="5s", panes=7, min_count=3), 0.0),
    _case("moving_var-exact", MovingVar(value="x", window="3s", max_events=20, ddof=0), None),
    _case("moving_std-64", MovingStd(value="x", window=64), 0.0),
    _case("moving_std-panes", MovingStd(value="x", window="20s", closed="both"), 0.0, vector=True),
    _case("moving_std-exact", MovingStd(value="x", window="4s", max_events=12), None, vector=True),
    Case("weighted-1", WeightedMovingMean(value="x", weights=[2.0]), NUMBER, same_bits=True, forgets=True, tenths=0.1),
    Case(
        "weighted-3",
        WeightedMovingMean(value="x", weights=[0.1, 0.3, 0.6]),
        VECTOR,
        same_bits=True,
        forgets=True,
        tenths=0.1,
    ),
    Case(
        "weighted-9",
        WeightedMovingMean(value="x", weights=range(1, 10), min_count=4),
        NUMBER,
        same_bits=True,
        forgets=True,
        tenths=0.1,
    ),
]
