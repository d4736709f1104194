"""Memories of key-value pairs that fade: linear attention in event time and its relatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from operators import LinearAttention
from operators.feature_maps import FEATURE_MAPS
from operators.grouping import Floats
from tests.operators.cases import ASKED, PAIR, Case
from tests.operators.oracle import Expected, History, Oracles, own_error, pair_history


def read_out(
    keys: Floats, values: Floats, query: Floats, weights: Sequence[Floats | float]
) -> tuple[Expected, Expected]:
    """q . S and q . nu, where S and nu are sums of w k^T v and w k^T; a weight is a number or one for each of k's."""
    products = [(query * w * key).tolist() for w, key in zip(weights, keys, strict=True)]
    scores = [math.fsum(line) for line in products]
    sizes = [math.fsum(map(abs, line)) for line in products]
    value = [math.fsum(s * x for s, x in zip(scores, line, strict=True)) for line in values.T.tolist()]
    size = [math.fsum(s * abs(x) for s, x in zip(sizes, line, strict=True)) for line in values.T.tolist()]
    return Expected(np.array(value), np.array(size)), Expected(math.fsum(scores), math.fsum(sizes))


def _ratio(top: Expected, bottom: Expected, values: Floats) -> Expected:
    """Their quotient, and its size: where the terms of q.nu cancel, a rounding counts so many times more."""
    if bottom.value == 0:
        return Expected(np.full(top.value.shape, np.nan), np.ones(top.value.shape))
    size = np.abs(values).max(initial=0.0) * bottom.size / abs(bottom.value)
    return Expected(top.value / bottom.value, np.maximum(top.size / abs(bottom.value), size))


def _by_head(expected: Sequence[Expected]) -> Expected:
    return Expected(np.array([one.value for one in expected]), np.array([one.size for one in expected]))


def _taylor2(x: Sequence[float]) -> list[float]:
    return [1.0, *x, *(a * b / math.sqrt(2) for a, b in itertools.product(x, repeat=2))]


def _dpfp(x: Sequence[float], nu: int) -> list[float]:
    r = [max(a, 0.0) for a in (*x, *(-a for a in x))]
    return [r[i] * r[i - shift] for shift in range(1, nu + 1) for i in range(len(r))]


def _phi(operator: LinearAttention) -> Callable[[Sequence[float]], list[float]]:
    elementwise: dict[str, Callable[[float], float]] = {
        "identity": lambda x: x,
        "elu1": lambda x: x + 1.0 if x > 0 else math.exp(x),
        "relu": lambda x: max(x, 0.0),
        "relu2": lambda x: max(x, 0.0) ** 2,
    }
    if operator.feature_map in elementwise:
        return lambda x: [elementwise[operator.feature_map](a) for a in x]
    if operator.feature_map == "taylor2":
        return _taylor2
    if operator.feature_map == "dpfp":
        return lambda x: _dpfp(x, operator.nu or 1)
    given = {"features": operator.features or 64, "seed": operator.seed or 0}
    # That the random features are what they should be is tried by themselves.
    return lambda x: FEATURE_MAPS["favor"](np.array([x]), **given)[0].tolist()


def _linear_attention(operator: LinearAttention, history: History) -> Expected:
    keys, values, query = pair_history(operator, history)
    seen = slice(None, -1) if operator.readout == "before" else slice(None)
    phi = _phi(operator)
    asked, values = np.array(phi(query.tolist())), values[seen]
    features = np.array([phi(key) for key in keys[seen].tolist()]).reshape(len(values), len(asked))

    def of(half_life: float) -> Expected:
        times = history.time[seen]
        weights = np.exp2((times - times.max(initial=-math.inf)) / half_life).tolist()
        return _ratio(*read_out(features, values, asked, weights), values)

    if operator.heads is not None:
        expected = _by_head([of(float(half_life)) for half_life in operator.heads])
    else:
        expected = of(float(operator.half_life or math.inf))
    return own_error(operator, history, expected)


ORACLES: Oracles = {LinearAttention: _linear_attention}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_BEFORE = {"value": 0.1, "error": 0.0}
_NEAR: Mapping[str, tuple[float, float]] = {"key": (-1.0, 1.0), "query": (-1.0, 1.0)}
_GROUP: dict[str, Any] = {"any_order": True, "factors": 3, "tenths": 0.1}

CASES = [
    Case("linear-identity", LinearAttention(**_KV, feature_map="identity"), PAIR, **_GROUP),
    Case("linear-elu1", LinearAttention(**_ASK, feature_map="elu1"), ASKED, **_GROUP),
    Case("linear-relu", LinearAttention(**_KV, feature_map="relu"), PAIR, **_GROUP),
    Case(
        "linear-relu2", LinearAttention(**_ASK, feature_map="relu2", readout="before"), ASKED, factors=5, tenths=_BEFORE
    ),
    Case("linear-taylor2", LinearAttention(**_ASK, feature_map="taylor2"), ASKED, **(_GROUP | {"factors": 5})),
    Case(
        "linear-favor", LinearAttention(**_ASK, feature_map="favor", features=10, seed=7), ASKED, ranges=_NEAR, **_GROUP
    ),
    Case("linear-dpfp", LinearAttention(**_KV, feature_map="dpfp", nu=2), PAIR, **(_GROUP | {"factors": 5})),
    Case("linear-time", LinearAttention(**_KV, half_life="3s"), PAIR, **_GROUP),
    Case("linear-time-slow", LinearAttention(**_ASK, half_life="2h"), ASKED, **_GROUP),
    Case("linear-heads", LinearAttention(**_ASK, heads=["2s", "1m", "1h"]), ASKED, **_GROUP),
    Case(
        "linear-heads-before",
        LinearAttention(**_KV, heads=["5s", "1h"], readout="before"),
        PAIR,
        factors=3,
        tenths=_BEFORE,
    ),
]
