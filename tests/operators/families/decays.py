"""Means that forget."""

from __future__ import annotations

import math

import numpy as np

from operators import Ewma
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles, weighted_mean


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


ORACLES: Oracles = {Ewma: _ewma}

CASES = [
    Case("ewma-alpha", Ewma(value="x", alpha=0.3), NUMBER, forgets=True, tenths=0.1),
    Case("ewma-1", Ewma(value="x", alpha=1.0), NUMBER, forgets=True, tenths=0.1),
    Case("ewma-slow", Ewma(value="x", alpha=1e-6), VECTOR, forgets=True, tenths=0.1),
    Case("ewma-span", Ewma(value="x", span=9, adjust=False), NUMBER, forgets=True, tenths=0.1),
    Case("ewma-time", Ewma(value="x", half_life="3s"), NUMBER, any_order=True, forgets=True, tenths=0.1),
    Case("ewma-time-vector", Ewma(value="x", half_life="2m"), VECTOR, any_order=True, forgets=True, tenths=0.1),
]
