"""Counts and means of all events."""

from __future__ import annotations

from operators import Count, Mean
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles, weighted_mean


def _count(operator: Count, history: History) -> Expected:
    return Expected(len(history.time), 0.0)


def _mean(operator: Mean, history: History) -> Expected:
    inputs = history.columns["value"]
    return weighted_mean(inputs, [1.0] * len(inputs))


ORACLES: Oracles = {Count: _count, Mean: _mean}

CASES = [
    Case("count", Count(), {}, same_bits=True, any_order=True, empty=0.0, tenths=1_000_001),
    Case("mean", Mean(value="x"), NUMBER, same_bits=True, any_order=True, tenths=0.1),
    Case("mean-vector", Mean(value="x"), VECTOR, same_bits=True, any_order=True, tenths=0.1),
]
