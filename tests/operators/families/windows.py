"""Means of the newest events."""

from __future__ import annotations

from operators import MovingMean, WeightedMovingMean
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles, weighted_mean


def _moving_mean(operator: MovingMean, history: History) -> Expected:
    inputs = history.columns["value"][-operator.window :]
    return weighted_mean(inputs, [1.0] * len(inputs) if len(inputs) >= operator.min_count else [0.0] * len(inputs))


def _weighted_moving_mean(operator: WeightedMovingMean, history: History) -> Expected:
    inputs = history.columns["value"][-len(operator.weights) :]
    weights = list(operator.weights)[len(operator.weights) - len(inputs) :]
    return weighted_mean(inputs, weights if len(inputs) >= operator.min_count else [0.0] * len(inputs))


ORACLES: Oracles = {MovingMean: _moving_mean, WeightedMovingMean: _weighted_moving_mean}

CASES = [
    Case("moving_mean-1", MovingMean(value="x", window=1), NUMBER, same_bits=True, forgets=True, tenths=0.1),
    Case("moving_mean-7", MovingMean(value="x", window=7), NUMBER, same_bits=True, forgets=True, tenths=0.1),
    Case(
        "moving_mean-full",
        MovingMean(value="x", window=5, min_count=5),
        VECTOR,
        same_bits=True,
        forgets=True,
        tenths=0.1,
    ),
    Case("moving_mean-256", MovingMean(value="x", window=256), NUMBER, same_bits=True, forgets=True, tenths=0.1),
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
