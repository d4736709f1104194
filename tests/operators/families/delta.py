"""Memories that learn the relation of key and value: the delta rules and ridge regression."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from operators import DeltaRule, GatedDeltaRule, Ridge
from operators.columns.grouping import Floats
from operators.matrices.delta import Delta
from operators.operator import Shape
from tests.operators.cases import ASKED, PAIR, Case
from tests.operators.oracle import Expected, History, Oracles, own_error

Long = npt.NDArray[np.longdouble]


def _long(array: Any) -> Long:
    return np.asarray(array, np.longdouble)


def _features(operator: Any, x: Floats) -> Long:
    """Features in long double: of one vector, or of a row of them."""
    exact = _long(x)
    if operator.feature_map == "elu1":
        return _long(np.where(exact > 0, exact + 1, np.exp(np.minimum(exact, 0))))
    if operator.feature_map == "relu":
        return np.maximum(exact, 0)
    assert operator.feature_map == "identity"
    return exact


def _delta(operator: Delta, history: History) -> Expected:
    """One step after the other, in long double.

    Where steps only ever shrink what they find, so that no error grows, an error is measured against the largest that
    the memory, what is added to it and what it gave for a key ever were; each as it has decayed since.
    """
    columns, time = history.columns, history.time
    keys, values = _features(operator, columns["key"]), _long(columns["value"])
    query = _features(operator, columns["query" if "query" in columns else "key"][-1])
    memory, size = _long(np.zeros((keys.shape[1], values.shape[1]))), _long(np.zeros(values.shape[1]))
    newest = time[0] if len(time) else 0.0
    for i in range(len(keys)):
        if operator.readout == "before" and i == len(keys) - 1:
            break
        kept = _long(1.0)
        if isinstance(operator, GatedDeltaRule):
            if operator.gamma is not None:
                kept = _long(operator.gamma)
            elif operator.half_life is not None:
                kept = _long(2.0) ** (-_long(max(time[i] - newest, 0.0)) / _long(operator.half_life))
                newest = max(newest, time[i])
            else:
                kept = _long(columns["decay"][i])
        memory, size = kept * memory, kept * size
        rate = _long(operator.rate) * (_long(columns["weight"][i]) if operator.weight is not None else 1)
        length = np.sqrt(np.sum(keys[i] ** 2))
        if operator.normalize:
            rate = rate / length**2 if length else _long(0.0)
        step = rate * (values[i] - keys[i] @ memory)
        memory = memory + keys[i][:, None] * step
        size = np.maximum(size, np.sqrt(np.sum(memory**2, axis=0)) + rate * length * np.abs(values[i]))
    expected = Expected((query @ memory).astype(float), (np.sqrt(np.sum(query**2)) * size).astype(float))
    return own_error(operator, history, expected)


def _ridge(operator: Ridge, history: History) -> Expected:
    """Sums in long double, solved in fractions, with the first-order bound of a backward stable solution as the size.

    With A = G + l2 I scaled to a diagonal of 1, x = A^-1 q and w = A^-1 R, an error E in A and one F in R make one of
    x E w and x F in the result, and the first where A is so near to singular that w is not known itself.
    """
    columns, time = history.columns, history.time
    keys, values = _features(operator, columns["key"]), _long(columns["value"])
    query = _features(operator, columns["query" if "query" in columns else "key"][-1])
    if operator.readout == "before":
        keys, values, time = keys[:-1], values[:-1], time[:-1]
    weights = _long(np.ones(len(keys)))
    if operator.half_life is not None and len(keys):
        weights = _long(2.0) ** ((_long(time) - time.max()) / _long(operator.half_life))
    weighted = weights[:, None] * keys
    gram = weighted.T @ keys + _long(operator.l2) * np.eye(len(query))
    moment, gross = weighted.T @ values, np.abs(weighted).T @ np.abs(values)
    solved = _solved(gram, np.column_stack([query, moment]))
    x, w = solved[:, 0], solved[:, 1:]
    scale = np.sqrt(np.diagonal(gram))
    condition = np.linalg.cond((gram / scale / scale[:, None]).astype(float))
    reach = np.sqrt(np.sum((scale * x) ** 2))
    w_size = np.sqrt(np.sum((scale[:, None] * w) ** 2, axis=0)) * (1 + 1e-15 * condition)
    gross_size = np.sqrt(np.sum((gross / scale[:, None]) ** 2, axis=0))
    expected = own_error(
        operator, history, Expected((x @ moment).astype(float), (reach * (w_size + gross_size)).astype(float))
    )
    value, size = ({"value": part} if operator.readout == "after" else part for part in (expected.value, expected.size))
    leverage = {"leverage": float(x @ query)}
    return Expected({**value, **leverage}, {**size, "leverage": float(reach**2 * (1 + 1e-15 * condition))})


def _solved(matrix: Long, right: Long) -> Long:
    """Gaussian elimination without rounding."""
    rows = [[Fraction(*x.as_integer_ratio()) for x in (*a, *b)] for a, b in zip(matrix, right, strict=True)]
    for i, pivot in enumerate(rows):
        pivot[:] = [x / pivot[i] for x in pivot]
        for other in rows[:i] + rows[i + 1 :]:
            other[:] = [x - other[i] * y for x, y in zip(other, pivot, strict=True)]
    return _long([[_long(x.numerator) / _long(x.denominator) for x in row[len(rows) :]] for row in rows])


ORACLES: Oracles = {DeltaRule: _delta, GatedDeltaRule: _delta, Ridge: _ridge}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_SMALL = {"key": (-0.7, 0.7)}
_NUMBER: Shape = ()
_WEIGHED = {**PAIR, "weight": _NUMBER}
_BEFORE = {"value": 0.1, "error": 0.0}
_ALL = 1_000_001 * 0.03
_TENTHS = {"value": 0.1 * _ALL / (_ALL + 0.01), "leverage": 0.03 / (_ALL + 0.01)}

CASES = [
    Case("delta", DeltaRule(**_KV, rate=0.5), PAIR, factors=3, tenths=0.1),
    Case("delta-before", DeltaRule(**_KV, rate=1.0, readout="before"), PAIR, factors=3, tenths=_BEFORE),
    Case("delta-query", DeltaRule(**_ASK, rate=1.9), ASKED, factors=3, tenths=0.1),
    Case(
        "delta-weight",
        DeltaRule(**_KV, rate=0.4, weight="w", readout="before"),
        _WEIGHED,
        factors=3,
        ranges={"weight": (0.0, 4.5)},
        tenths=_BEFORE,
    ),
    Case("delta-raw", DeltaRule(**_KV, rate=0.9, normalize=False), PAIR, factors=3, ranges=_SMALL),
    Case("delta-elu1", DeltaRule(**_KV, rate=0.3, feature_map="elu1"), PAIR, factors=3, tenths=0.1),
    Case("gated-gamma", GatedDeltaRule(**_KV, rate=0.7, gamma=0.9), PAIR, factors=3),
    Case("gated-time", GatedDeltaRule(**_ASK, rate=0.2, half_life="30s", readout="before"), ASKED, factors=3),
    Case(
        "gated-decay",
        GatedDeltaRule(**_KV, rate=1.0, decay="a"),
        {**PAIR, "decay": _NUMBER},
        factors=3,
        ranges={"decay": (0.0, 1.0)},
    ),
    Case("ridge", Ridge(**_KV, l2=0.01), PAIR, any_order=True, factors=3, tenths=_TENTHS),
    Case("ridge-query", Ridge(**_ASK, l2=2.0, readout="before"), ASKED, factors=3),
    Case("ridge-time", Ridge(**_KV, l2=0.5, half_life="20s"), PAIR, any_order=True, factors=3),
    Case("ridge-time-before", Ridge(**_ASK, l2=0.1, half_life="3s", readout="before"), ASKED, factors=3),
    Case("ridge-relu", Ridge(**_KV, l2=1.0, feature_map="relu"), PAIR, any_order=True, factors=3),
]
