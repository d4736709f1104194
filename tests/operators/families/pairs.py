"""Memories of key-value pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from operators import LinearAttention
from tests.operators.cases import ASKED, PAIR, Case
from tests.operators.oracle import Expected, History, Oracles, own_error, pair_history, weighted_mean


def _linear_attention(operator: LinearAttention, history: History) -> Expected:
    phi: Callable[[float], float] = {
        "identity": lambda x: x,
        "elu1": lambda x: x + 1.0 if x > 0 else math.exp(x),
        "relu": lambda x: max(x, 0.0),
        "relu2": lambda x: max(x, 0.0) ** 2,
    }[operator.feature_map]
    keys, values, query = pair_history(operator, history)
    if operator.readout == "before":
        keys, values = keys[:-1], values[:-1]
    features = [phi(x) for x in query.tolist()]
    products = [[q * phi(k) for q, k in zip(features, key, strict=True)] for key in keys.tolist()]
    weights = [math.fsum(line) for line in products]
    expected = weighted_mean(values, weights)
    total, gross = math.fsum(weights), math.fsum(abs(x) for line in products for x in line)
    expected.size = np.maximum(expected.size, np.abs(values).max(initial=0.0)) * (gross / abs(total) if total else 1.0)
    return own_error(operator, history, expected)


ORACLES: Oracles = {LinearAttention: _linear_attention}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_BEFORE = {"value": 0.1, "error": 0.0}

CASES = [
    Case(
        "linear-identity", LinearAttention(**_KV, feature_map="identity"), PAIR, any_order=True, factors=3, tenths=0.1
    ),
    Case("linear-elu1", LinearAttention(**_ASK, feature_map="elu1"), ASKED, any_order=True, factors=3, tenths=0.1),
    Case("linear-relu", LinearAttention(**_KV, feature_map="relu"), PAIR, any_order=True, factors=3, tenths=0.1),
    Case(
        "linear-relu2", LinearAttention(**_ASK, feature_map="relu2", readout="before"), ASKED, factors=5, tenths=_BEFORE
    ),
]
