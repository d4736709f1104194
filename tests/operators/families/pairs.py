"""Memories of key-value pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from operators import KvMean, KvWindow, LinearAttention
from tests.operators.cases import ASKED, PAIR, Case
from tests.operators.oracle import Expected, History, Oracles, own_error, pair_history, weighted_mean


def _kv_mean(operator: KvMean, history: History) -> Expected:
    keys, values, query = pair_history(operator, history)
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
    keys, values, query = pair_history(operator, history)
    seen = slice(None, -1) if operator.readout == "before" else slice(None)
    keys, values = keys[seen][-operator.window :], values[seen][-operator.window :]
    scores = [math.fsum((query * key).tolist()) / math.sqrt(len(query)) for key in keys]
    top = max(scores, default=0.0)
    expected = weighted_mean(values, [math.exp(score - top) for score in scores])
    # An exponential makes an error in its exponent one of that many times its size.
    condition = 1.0 + min(max((abs(score) for score in scores), default=0.0), 1e12)
    expected.size = np.abs(values).max(axis=0, initial=0.0) * condition
    return own_error(operator, history, expected)


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


ORACLES: Oracles = {KvMean: _kv_mean, KvWindow: _kv_window, LinearAttention: _linear_attention}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_MEAN = {"key": 0.1, "value": 0.1, "score": 0.01 * math.sqrt(3)}
_BEFORE = {"value": 0.1, "error": 0.0}

CASES = [
    Case("kv_mean", KvMean(**_KV), PAIR, same_bits=True, any_order=True, factors=2, tenths=_MEAN),
    Case("kv_mean-query", KvMean(**_ASK), ASKED, same_bits=True, any_order=True, factors=2, tenths=_MEAN),
    Case("kv_window", KvWindow(**_KV, window=8), PAIR, factors=2, forgets=True, tenths=0.1),
    Case(
        "kv_window-before", KvWindow(**_ASK, window=5, readout="before"), ASKED, factors=2, forgets=True, tenths=_BEFORE
    ),
    Case(
        "linear-identity", LinearAttention(**_KV, feature_map="identity"), PAIR, any_order=True, factors=3, tenths=0.1
    ),
    Case("linear-elu1", LinearAttention(**_ASK, feature_map="elu1"), ASKED, any_order=True, factors=3, tenths=0.1),
    Case("linear-relu", LinearAttention(**_KV, feature_map="relu"), PAIR, any_order=True, factors=3, tenths=0.1),
    Case(
        "linear-relu2", LinearAttention(**_ASK, feature_map="relu2", readout="before"), ASKED, factors=5, tenths=_BEFORE
    ),
]
