"""Memories of key-value pairs that fade: linear attention in event time and its relatives."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from operators import GatedLinearAttention, LinearAttention, Lru, Mlstm, Retention, Rwkv
from operators.columns.grouping import Floats
from operators.matrices.feature_maps import FEATURE_MAPS
from operators.operator import Shape
from tests.operators.cases import ASKED, PAIR, Case
from tests.operators.oracle import Expected, History, Oracles, own_error, pair_history, weighted_mean


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


def _phi(attention: LinearAttention) -> Callable[[Sequence[float]], list[float]]:
    elementwise: dict[str, Callable[[float], float]] = {
        "identity": lambda x: x,
        "elu1": lambda x: x + 1.0 if x > 0 else math.exp(x),
        "relu": lambda x: max(x, 0.0),
        "relu2": lambda x: max(x, 0.0) ** 2,
    }
    if attention.feature_map in elementwise:
        return lambda x: [elementwise[attention.feature_map](a) for a in x]
    if attention.feature_map == "taylor2":
        return _taylor2
    if attention.feature_map == "dpfp":
        return lambda x: _dpfp(x, attention.nu or 1)
    given = {"features": attention.features or 64, "seed": attention.seed or 0}
    # That the random features are what they should be is tried by themselves.
    return lambda x: FEATURE_MAPS["favor"](np.array([x]), **given)[0].tolist()


def _linear_attention(attention: LinearAttention, history: History) -> Expected:
    keys, values, query = pair_history(attention, history)
    seen = slice(None, -1) if attention.readout == "before" else slice(None)
    phi = _phi(attention)
    asked, values = np.array(phi(query.tolist())), values[seen]
    features = np.array([phi(key) for key in keys[seen].tolist()]).reshape(len(values), len(asked))

    def of(half_life: float) -> Expected:
        times = history.time[seen]
        weights = np.exp2((times - times.max(initial=-math.inf)) / half_life).tolist()
        return _ratio(*read_out(features, values, asked, weights), values)

    if attention.heads is not None:
        expected = _by_head([of(float(half_life)) for half_life in attention.heads])
    else:
        expected = of(float(attention.half_life or math.inf))
    return own_error(attention, history, expected)


def _later(
    factors: Sequence[float], combine: Callable[[float, float], float] = operator.mul, none: float = 1.0
) -> list[float]:
    """For each event the product of the factors of those after it, or what combines them instead."""
    return [*itertools.accumulate(factors[:0:-1], combine, initial=none)][::-1] if factors else []


def _fading(
    retention: Retention | GatedLinearAttention, history: History, gates: Callable[[int], Sequence[Any]]
) -> Expected:
    """The read-out of a matrix that fades by gate i of each row before event i adds its pair."""
    keys, values, query = pair_history(retention, history)
    seen = slice(None, -1) if retention.readout == "before" else slice(None)
    columns = [_later(gates(row)[seen]) for row in range(len(query))]
    weights = [np.array(line) for line in zip(*columns, strict=True)]
    return read_out(keys[seen], values[seen], query, weights)[0]


def _retention(retention: Retention, history: History) -> Expected:
    def of(gamma: float) -> Expected:
        return _fading(retention, history, lambda row: [gamma] * len(history.time))

    expected = of(retention.gamma or math.nan) if retention.heads is None else _by_head([*map(of, retention.heads)])
    return own_error(retention, history, expected)


def _gated_linear_attention(gated: GatedLinearAttention, history: History) -> Expected:
    gate = history.columns["gate"]
    expected = _fading(gated, history, lambda row: (gate if gate.ndim == 1 else gate[:, row]).tolist())
    return own_error(gated, history, expected)


def _mlstm(mlstm: Mlstm, history: History) -> Expected:
    keys, values, query = pair_history(mlstm, history)
    seen = slice(None, -1) if mlstm.readout == "before" else slice(None)
    values, n = values[seen], len(history.time)
    forgets = history.columns.get("forget_gate", np.ones(n))[seen].tolist()
    inputs = history.columns.get("input_gate", np.zeros(n))[seen].tolist()
    logarithms = [w + x for w, x in zip(_later([*map(math.log, forgets)], operator.add, 0.0), inputs, strict=True)]
    largest = max(logarithms, default=0.0)
    top, bottom = read_out(keys[seen], values, query, [math.exp(x - largest) for x in logarithms])
    # Without its scale, n has the weights themselves, and is compared with 1.
    whole = max(abs(bottom.value), math.exp(-largest))
    size = np.maximum(top.size, np.abs(values).max(initial=0.0) * bottom.size) / whole
    return own_error(mlstm, history, Expected(top.value / whole, size))


def _rwkv(rwkv: Rwkv, history: History) -> Expected:
    seen = slice(None, -1) if rwkv.readout == "before" else slice(None)
    values = history.columns["value"][seen]
    ages = np.arange(len(values) - 1, -1, -1.0)
    columns = values.reshape(len(values), math.prod(values.shape[1:])).T
    keys = np.broadcast_to(history.columns["key"][seen].T, columns.shape)
    means = []
    for gamma, key, column in zip(np.broadcast_to(rwkv.gamma, len(columns)), keys, columns, strict=True):
        weights = key + ages * math.log(gamma)
        largest = weights.max(initial=-1e308)
        means.append(weighted_mean(column, np.exp(weights - largest).tolist()))
    shape = values.shape[1:]
    value, size = (np.array([getattr(mean, part) for mean in means]).reshape(shape) for part in ("value", "size"))
    # An exponential makes an error in its exponent one of that many times its size.
    condition = 1.0 + np.abs(keys).max(initial=0.0)
    return own_error(rwkv, history, Expected(value, np.fmax(size, np.abs(values).max(initial=0.0)) * condition))


def _lru(lru: Lru, history: History) -> Expected:
    value = history.columns["value"]
    ages = range(len(value) - 1, -1, -1)
    flat = value.reshape(len(value), -1).T.tolist()
    phases = lru.phases or [0.0] * len(lru.magnitudes)
    parts: dict[str, Any] = {"real": [], "imag": [], "size": []}
    for r, theta in zip(lru.magnitudes, phases, strict=True):
        turns = [_turned(theta, n) for n in ages]
        for part, weights in (
            ("real", [r**n * math.cos(angle) for n, angle in zip(ages, turns, strict=True)]),
            ("imag", [r**n * math.sin(angle) for n, angle in zip(ages, turns, strict=True)]),
            ("size", [r**n for n in ages]),
        ):
            line = [[abs(x) for x in column] if part == "size" else column for column in flat]
            parts[part].append([math.fsum(w * x for w, x in zip(weights, column, strict=True)) for column in line])
    real, imag, size = (np.array(part).reshape(len(phases), *value.shape[1:]) for part in parts.values())
    if lru.part == "both":
        return Expected({"real": real, "imag": imag}, {"real": size, "imag": size})
    return Expected({"real": real, "imag": imag, "magnitude": np.hypot(real, imag)}[lru.part], size)


@cache
def _turned(theta: float, n: int) -> float:
    """The angle n theta, less whole turns, as if it had never been rounded."""
    angle = Fraction(theta) * n
    return float(angle - round(angle / _TURN) * _TURN)


_TURN = 2 * Fraction("3.14159265358979323846264338327950288419716939937510582")

ORACLES: Oracles = {
    LinearAttention: _linear_attention,
    Retention: _retention,
    GatedLinearAttention: _gated_linear_attention,
    Mlstm: _mlstm,
    Rwkv: _rwkv,
    Lru: _lru,
}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_BEFORE = {"value": 0.1, "error": 0.0}
_NEAR: Mapping[str, tuple[float, float]] = {"key": (-1.0, 1.0), "query": (-1.0, 1.0)}
_GROUP: dict[str, Any] = {"any_order": True, "factors": 3, "tenths": 0.1}
_FADES: dict[str, Any] = {"factors": 3, "forgets": True}
_GATE: Mapping[str, tuple[float, float]] = {"gate": (0.5, 1.0)}
_GATED: Mapping[str, Shape] = {**PAIR, "gate": ()}
_ROWS: Mapping[str, Shape] = {**ASKED, "gate": (3,)}
_GATES: dict[str, Any] = {"input_gate": "x", "forget_gate": "f"}
_LSTM: Mapping[str, Shape] = {"input_gate": (), "forget_gate": ()}
_SURE: Mapping[str, tuple[float, float]] = {"input_gate": (-3.0, 3.0), "forget_gate": (0.5, 1.0)}
_LOG: Mapping[str, tuple[float, float]] = {"key": (-30.0, 30.0)}
_NUMBERS: Mapping[str, Shape] = {"key": (), "value": ()}

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
    Case("retention", Retention(**_KV, gamma=0.9), PAIR, **_FADES, tenths=0.03 * 0.1 / (1 - 0.9)),
    Case("retention-before", Retention(**_ASK, gamma=0.75, readout="before"), ASKED, **_FADES),
    Case("retention-all", Retention(**_ASK, gamma=1.0), ASKED, factors=3),
    Case(
        "retention-heads",
        Retention(**_ASK, heads=[1 - 2.0**-5, 1 - 2.0**-8, 0.5]),
        ASKED,
        **_FADES,
    ),
    Case("retention-heads-before", Retention(**_KV, heads=[0.9, 0.99], readout="before"), PAIR, **_FADES),
    Case("gated", GatedLinearAttention(**_KV, gate="a"), _GATED, **_FADES, ranges=_GATE),
    Case("gated-before", GatedLinearAttention(**_KV, gate="a", readout="before"), _GATED, **_FADES, ranges=_GATE),
    Case("gated-rows", GatedLinearAttention(**_ASK, gate=["a", "b", "c"]), _ROWS, **_FADES, ranges=_GATE),
    Case(
        "gated-rows-hard",
        GatedLinearAttention(**_ASK, gate="a", readout="before"),
        _ROWS,
        **_FADES,
        ranges={"gate": (0.001, 1.0)},
    ),
    Case("mlstm", Mlstm(**_KV, **_GATES), {**PAIR, **_LSTM}, **_FADES, ranges=_SURE),
    Case("mlstm-before", Mlstm(**_ASK, **_GATES, readout="before"), {**ASKED, **_LSTM}, **_FADES, ranges=_SURE),
    Case("mlstm-plain", Mlstm(**_ASK), ASKED, factors=3, tenths=0.1),
    Case("rwkv", Rwkv(**_KV, gamma=0.9), _NUMBERS, forgets=True, ranges=_LOG, tenths=0.1),
    Case("rwkv-all", Rwkv(**_KV), {"key": (), "value": (3,)}, ranges=_LOG, tenths=0.1),
    Case(
        "rwkv-vector",
        Rwkv(**_KV, gamma=[0.5, 0.9, 0.99], readout="before"),
        {"key": (3,), "value": (3,)},
        forgets=True,
        ranges=_LOG,
        tenths=_BEFORE,
    ),
    Case("lru", Lru(value="x", magnitudes=[0.9], phases=[0.5]), {"value": ()}, forgets=True),
    Case("lru-sums", Lru(value="x", magnitudes=[0.5, 0.875], part="real"), {"value": ()}),
    Case(
        "lru-bank",
        Lru(value="x", magnitudes=[0.9, 0.99, 0.999], phases=[0.1, 2.0, -3.0], part="both"),
        {"value": (2,)},
        forgets=True,
    ),
]
