"""Memories that learn the relation of key and value: the delta rules and ridge regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators import DeltaRule, GatedDeltaRule
from operators.delta import Delta
from operators.grouping import Floats
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


ORACLES: Oracles = {DeltaRule: _delta, GatedDeltaRule: _delta}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}
_SMALL = {"key": (-0.7, 0.7)}
_NUMBER: Shape = ()
_WEIGHED = {**PAIR, "weight": _NUMBER}
_BEFORE = {"value": 0.1, "error": 0.0}

CASES = [
    Case("delta", DeltaRule(**_KV, rate=0.5), PAIR, factors=3, empty=0.0, tenths=0.1),
    Case("delta-before", DeltaRule(**_KV, rate=1.0, readout="before"), PAIR, factors=3, tenths=_BEFORE),
    Case("delta-query", DeltaRule(**_ASK, rate=1.9), ASKED, factors=3, empty=0.0, tenths=0.1),
    Case(
        "delta-weight",
        DeltaRule(**_KV, rate=0.4, weight="w", readout="before"),
        _WEIGHED,
        factors=3,
        ranges={"weight": (0.0, 4.5)},
        tenths=_BEFORE,
    ),
    Case("delta-raw", DeltaRule(**_KV, rate=0.9, normalize=False), PAIR, factors=3, ranges=_SMALL, empty=0.0),
    Case("delta-elu1", DeltaRule(**_KV, rate=0.3, feature_map="elu1"), PAIR, factors=3, empty=0.0, tenths=0.1),
    Case("gated-gamma", GatedDeltaRule(**_KV, rate=0.7, gamma=0.9), PAIR, factors=3, empty=0.0),
    Case("gated-time", GatedDeltaRule(**_ASK, rate=0.2, half_life="30s", readout="before"), ASKED, factors=3),
    Case(
        "gated-decay",
        GatedDeltaRule(**_KV, rate=1.0, decay="a"),
        {**PAIR, "decay": _NUMBER},
        factors=3,
        ranges={"decay": (0.0, 1.0)},
        empty=0.0,
    ),
]
