"""Means of key-value pairs, and attention over windows of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from operators import Fifo, Infini, KvEwma, KvMean, KvMovingMean, KvWeightedMovingMean, KvWindow
from operators.columns.grouping import Floats
from operators.pairs.pair_means import PairMeans
from tests.operators.cases import ASKED, PAIR, Case
from tests.operators.families.windows import window
from tests.operators.oracle import Expected, History, Oracles, own_error, pair_history, weighted_mean


def _weights(operator: Any, time: Floats) -> list[list[float]]:
    """By head, the weight of each pair in the mean, oldest first; all 0 where there is no result yet."""
    n = len(time)
    if isinstance(operator, KvEwma):
        if operator.alpha is None and operator.span is None:
            half_lives = operator.heads or (operator.half_life,)
            return [[2.0 ** (age / float(t or 0)) for age in (time - time.max()).tolist()] for t in half_lives]
        alpha = operator.alpha or 2.0 / (1.0 + (operator.span or math.nan))
        weights = [(1.0 - alpha) ** age for age in range(n - 1, -1, -1)]
        return [weights if operator.adjust else [weights[0], *(alpha * weight for weight in weights[1:])]]
    if isinstance(operator, KvMean):
        return [[1.0] * n]
    weights = [0.0] * n
    if isinstance(operator, KvMovingMean):
        inside = [int(i) for i in window(operator.mean, History({"value": np.arange(float(n))}, time))]
        newest = [1.0] * len(inside)
    else:
        newest = list(operator.weights)[-n:]
        inside = list(range(n - len(newest), n))
    for i, weight in zip(inside, newest, strict=True):
        weights[i] = weight if len(inside) >= operator.min_count else 0.0
    return [weights]


def _pair_means(operator: PairMeans, history: History) -> Expected:
    keys, values, query = pair_history(operator, history)
    value, size = {}, {}
    weights = _weights(operator, history.time)
    for name, inputs in (("key", keys), ("value", values)):
        means = [weighted_mean(inputs, line) for line in weights]
        value[name], size[name] = np.array([mean.value for mean in means]), np.array([mean.size for mean in means])
    for of, asked in ((value, query), (size, abs(query))):
        of["score"] = np.array([math.fsum((asked * key).tolist()) / math.sqrt(len(query)) for key in of["key"]])
    if getattr(operator, "heads", None) is None:
        value, size = ({name: part[0] for name, part in of.items()} for of in (value, size))
    return Expected(value, size)


def _softmax(query: Floats, keys: Floats, values: Floats) -> Expected:
    """Attention of a query over rows, with the size of its error; undefined over none."""
    scores = [math.fsum((query * key).tolist()) / math.sqrt(len(query)) for key in keys]
    top = max(scores, default=0.0)
    expected = weighted_mean(values, [math.exp(score - top) for score in scores])
    # An exponential makes an error in its exponent one of that many times its size.
    condition = 1.0 + min(max((abs(score) for score in scores), default=0.0), 1e12)
    expected.size = np.abs(values).max(axis=0, initial=0.0) * condition
    return expected


def _kv_window(operator: KvWindow, history: History) -> Expected:
    keys, values, query = pair_history(operator, history)
    n = len(keys) - (operator.readout == "before")
    seen = [i for i in range(n) if i < operator.sinks or i >= n - operator.window]
    return own_error(operator, history, _softmax(query, keys[seen], values[seen]))


def _mean_rows(rows: Floats) -> Floats:
    return np.array([math.fsum(column) / len(rows) for column in rows.T.tolist()])


def _fifo(operator: Fifo, history: History) -> Expected:
    keys, values, query = pair_history(operator, history)
    mem: list[tuple[Floats, Floats]] = []
    cmem: list[tuple[Floats, Floats]] = []
    for pair in zip(*(part[: len(keys) - (operator.readout == "before")] for part in (keys, values)), strict=True):
        mem.append(pair)
        if len(mem) == operator.window + operator.segment:
            segment, mem = mem[: operator.segment], mem[operator.segment :]
            cmem.append((_mean_rows(np.array([k for k, _ in segment])), _mean_rows(np.array([v for _, v in segment]))))
            cmem = cmem[-operator.compressed :]
    rows = cmem + mem
    seen = [np.array([row[i] for row in rows]).reshape((-1, part.shape[1])) for i, part in enumerate((keys, values))]
    return own_error(operator, history, _softmax(query, *seen))


def _infini(operator: Infini, history: History) -> Expected:
    keys, values, query = pair_history(operator, history)
    end = len(keys) - (operator.readout == "before")
    since = max(end - operator.window, 0)
    newest = _softmax(query, keys[since:end], values[since:end])
    if since == 0:
        return own_error(operator, history, newest)
    phi: Callable[[float], float] = {
        "elu1": lambda x: x + 1.0 if x > 0 else math.exp(x),
        "relu": lambda x: max(x, 0.0),
    }[operator.feature_map]
    weights = [math.fsum(phi(q) * phi(k) for q, k in zip(query, key, strict=True)) for key in keys[:since].tolist()]
    older = weighted_mean(values[:since], weights)
    g = operator.gate
    value, size = (g * old + (1.0 - g) * new for old, new in ((older.value, newest.value), (older.size, newest.size)))
    return own_error(operator, history, Expected(value, size))


ORACLES: Oracles = {
    KvMean: _pair_means,
    KvMovingMean: _pair_means,
    KvWeightedMovingMean: _pair_means,
    KvEwma: _pair_means,
    KvWindow: _kv_window,
    Fifo: _fifo,
    Infini: _infini,
}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_MEAN = {"key": 0.1, "value": 0.1, "score": 0.01 * math.sqrt(3)}
_BEFORE = {"value": 0.1, "error": 0.0}
_EXACT: dict[str, Any] = {"same_bits": True, "factors": 2, "forgets": True, "tenths": _MEAN}
_BY_TIME: dict[str, Any] = {"factors": 2, "forgets": True}
_SOFTMAX: dict[str, Any] = {"factors": 2, "forgets": True}

CASES = [
    Case("kv_mean", KvMean(**_KV), PAIR, same_bits=True, any_order=True, factors=2, tenths=_MEAN),
    Case("kv_mean-query", KvMean(**_ASK), ASKED, same_bits=True, any_order=True, factors=2, tenths=_MEAN),
    Case("kv_moving_mean", KvMovingMean(**_KV, window=7), PAIR, **_EXACT),
    Case("kv_moving_mean-full", KvMovingMean(**_ASK, window=64, min_count=64), ASKED, **_EXACT),
    Case("kv_moving_mean-panes", KvMovingMean(**_KV, window="3s", panes=6), PAIR, **_BY_TIME, any_order=True),
    Case("kv_moving_mean-exact", KvMovingMean(**_ASK, window="3s", max_events=40, min_count=2), ASKED, **_BY_TIME),
    Case("kv_weighted", KvWeightedMovingMean(**_KV, weights=[0.1, 0.3, 0.6]), PAIR, **_EXACT),
    Case("kv_weighted-full", KvWeightedMovingMean(**_ASK, weights=range(1, 6), min_count=3), ASKED, **_EXACT),
    Case("kv_ewma-alpha", KvEwma(**_KV, alpha=0.3), PAIR, factors=2, forgets=True, tenths=_MEAN),
    Case("kv_ewma-span", KvEwma(**_ASK, span=9, adjust=False), ASKED, factors=2, forgets=True, tenths=_MEAN),
    Case("kv_ewma-time", KvEwma(**_KV, half_life="3s"), PAIR, any_order=True, factors=2, forgets=True, tenths=_MEAN),
    Case("kv_ewma-heads", KvEwma(**_ASK, heads=["3s", "1m"]), ASKED, any_order=True, factors=2, forgets=True),
    Case("kv_window", KvWindow(**_KV, window=8), PAIR, **_SOFTMAX, tenths=0.1),
    Case("kv_window-before", KvWindow(**_ASK, window=5, readout="before"), ASKED, **_SOFTMAX, tenths=_BEFORE),
    Case("kv_window-70", KvWindow(**_KV, window=70), PAIR, **_SOFTMAX, tenths=0.1),
    Case("kv_window-sinks", KvWindow(**_ASK, window=6, sinks=4), ASKED, **_SOFTMAX, tenths=0.1),
    Case(
        "kv_window-sinks-before", KvWindow(**_KV, window=3, sinks=5, readout="before"), PAIR, **_SOFTMAX, tenths=_BEFORE
    ),
    Case("fifo", Fifo(**_KV, window=5, segment=3, compressed=4), PAIR, **_SOFTMAX, tenths=0.1),
    Case("fifo-1", Fifo(**_ASK, window=1, segment=1, compressed=1), ASKED, **_SOFTMAX, tenths=0.1),
    Case("fifo-long", Fifo(**_KV, window=20, segment=64, compressed=3), PAIR, **_SOFTMAX, tenths=0.1),
    Case(
        "fifo-before",
        Fifo(**_ASK, window=2, segment=4, compressed=7, readout="before"),
        ASKED,
        **_SOFTMAX,
        tenths=_BEFORE,
    ),
    Case("infini", Infini(**_KV, window=8), PAIR, factors=3, tenths=0.1),
    Case("infini-relu", Infini(**_ASK, window=3, gate=0.2, feature_map="relu"), ASKED, factors=3, tenths=0.1),
    Case("infini-before", Infini(**_ASK, window=5, readout="before"), ASKED, factors=3, tenths=_BEFORE),
]
