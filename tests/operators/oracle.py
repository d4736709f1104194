"""What every operator has to give, written from its formula, slowly, with exact sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators import Count, Ewma, KvMean, KvWindow, LinearAttention, Mean, MovingMean, Operator, WeightedMovingMean
from operators.grouping import Floats

_TINY = 1e-305
"""Below this doubles lose their digits one by one."""


@dataclass
class History:
    """All events of one key in order of arrival: inputs by role, (n, ...), and times (n,)."""

    columns: Mapping[str, Floats]
    time: Floats


@dataclass
class Expected:
    """A result, and the size S that its error is measured against: that of sum w|x| / sum w."""

    value: Any
    size: Any


def weighted_mean(inputs: Floats, weights: Sequence[float]) -> Expected:
    """The weighted mean of inputs (n, ...) with its size; undefined if the weights sum to 0 or there is no input."""
    shape = inputs.shape[1:]
    total = math.fsum(weights)
    if total == 0:
        return Expected(np.full(shape, np.nan), np.full(shape, 1.0))
    flat = inputs.reshape(len(inputs), -1).T.tolist()
    value = [math.fsum(w * x for w, x in zip(weights, line, strict=True)) / total for line in flat]
    size = [math.fsum(abs(w * x) for w, x in zip(weights, line, strict=True)) / abs(total) for line in flat]
    return Expected(np.array(value).reshape(shape), np.array(size).reshape(shape))


def _count(operator: Count, history: History) -> Expected:
    return Expected(len(history.time), 0.0)


def _mean(operator: Mean, history: History) -> Expected:
    inputs = history.columns["value"]
    return weighted_mean(inputs, [1.0] * len(inputs))


def _moving_mean(operator: MovingMean, history: History) -> Expected:
    inputs = history.columns["value"][-operator.window :]
    return weighted_mean(inputs, [1.0] * len(inputs) if len(inputs) >= operator.min_count else [0.0] * len(inputs))


def _weighted_moving_mean(operator: WeightedMovingMean, history: History) -> Expected:
    inputs = history.columns["value"][-len(operator.weights) :]
    weights = list(operator.weights)[len(operator.weights) - len(inputs) :]
    return weighted_mean(inputs, weights if len(inputs) >= operator.min_count else [0.0] * len(inputs))


def _ewma(operator: Ewma, history: History) -> Expected:
    inputs, n = history.columns["value"], len(history.time)
    if operator.half_life is not None:
        length = float(operator.half_life)
        return weighted_mean(inputs, np.exp2((history.time - history.time.max()) / length).tolist())
    alpha = operator.alpha or 2.0 / (operator.span + 1.0 if operator.span is not None else math.nan)
    age = np.arange(n - 1, -1, -1.0)
    weights = (age == 0).astype(float) if alpha == 1 else np.exp(age * math.log1p(-alpha))
    if not operator.adjust:
        weights[1:] *= alpha
    return weighted_mean(inputs, weights.tolist())


def _kv_mean(operator: KvMean, history: History) -> Expected:
    keys, values, query = _pairs(operator, history)
    ones = [1.0] * len(keys)
    key, value = weighted_mean(keys, ones), weighted_mean(values, ones)
    score, size = (
        math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(len(query))
        for a, b in ((query, key.value), (abs(query), key.size))
    )
    return Expected(
        {"key": key.value, "value": value.value, "score": score}, {"key": key.size, "value": value.size, "score": size}
    )


def _kv_window(operator: KvWindow, history: History) -> Expected:
    keys, values, query = _pairs(operator, history)
    seen = slice(None, -1) if operator.readout == "before" else slice(None)
    keys, values = keys[seen][-operator.window :], values[seen][-operator.window :]
    scores = [math.fsum((query * key).tolist()) / math.sqrt(len(query)) for key in keys]
    top = max(scores, default=0.0)
    expected = weighted_mean(values, [math.exp(score - top) for score in scores])
    # An exponential makes an error in its exponent one of that many times its size.
    condition = 1.0 + min(max((abs(score) for score in scores), default=0.0), 1e12)
    expected.size = np.abs(values).max(axis=0, initial=0.0) * condition
    return _prediction(operator, history, expected)


def _linear_attention(operator: LinearAttention, history: History) -> Expected:
    phi: Callable[[float], float] = {
        "identity": lambda x: x,
        "elu1": lambda x: x + 1.0 if x > 0 else math.exp(x),
        "relu": lambda x: max(x, 0.0),
        "relu2": lambda x: max(x, 0.0) ** 2,
    }[operator.feature_map]
    keys, values, query = _pairs(operator, history)
    if operator.readout == "before":
        keys, values = keys[:-1], values[:-1]
    features = [phi(x) for x in query.tolist()]
    products = [[q * phi(k) for q, k in zip(features, key, strict=True)] for key in keys.tolist()]
    weights = [math.fsum(line) for line in products]
    expected = weighted_mean(values, weights)
    total, gross = math.fsum(weights), math.fsum(abs(x) for line in products for x in line)
    expected.size = np.maximum(expected.size, np.abs(values).max(initial=0.0)) * (gross / abs(total) if total else 1.0)
    return _prediction(operator, history, expected)


def _pairs(operator: Operator, history: History) -> tuple[Floats, Floats, Floats]:
    columns = history.columns
    return columns["key"], columns["value"], columns["query" if "query" in operator.inputs() else "key"][-1]


def _prediction(operator: KvWindow | LinearAttention, history: History, expected: Expected) -> Expected:
    if operator.readout == "after":
        return expected
    own = history.columns["value"][-1]
    size = expected.size + np.abs(own)
    return Expected({"value": expected.value, "error": own - expected.value}, {"value": size, "error": size})


_ORACLES: dict[type[Operator], Callable[[Any, History], Expected]] = {
    Count: _count,
    Mean: _mean,
    MovingMean: _moving_mean,
    WeightedMovingMean: _weighted_moving_mean,
    Ewma: _ewma,
    KvMean: _kv_mean,
    KvWindow: _kv_window,
    LinearAttention: _linear_attention,
}


def expect(operator: Operator, history: History) -> Expected:
    """The result of the history's last event."""
    return _ORACLES[type(operator)](operator, history)


def assert_close(got: Any, expected: Any, size: Any, tolerance: float = 1e-12) -> None:
    """Within ``tolerance`` of the greater of the expected value and its size; undefined where that is."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for name in expected:
            assert_close(got[name], expected[name], size[name], tolerance)
        return
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    assert got.shape == expected.shape
    assert (np.isnan(got) == np.isnan(expected)).all(), (got, expected)
    error = np.where(np.isnan(expected), 0.0, np.abs(got - expected))
    assert (error <= tolerance * np.fmax(np.abs(expected), size) + _TINY).all(), (got, expected, error)
