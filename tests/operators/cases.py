"""Operators as they are tried: every type, with the options that change what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators import Count, Ewma, KvMean, KvWindow, LinearAttention, Mean, MovingMean, Operator, WeightedMovingMean
from operators.grouping import Floats, Ints
from operators.operator import Readout, Shape
from tests.operators.driver import Driver, parts
from tests.operators.oracle import History


@dataclass(frozen=True)
class Case:
    """An operator and its inputs.

    ``same_bits``: results don't depend on the batches at all. ``any_order``: the state doesn't depend on the order of
    arrival. ``factors``: how many inputs are multiplied in its sums.
    """

    name: str
    operator: Operator
    shapes: Mapping[str, Shape]
    same_bits: bool = False
    any_order: bool = False
    factors: int = 1

    @property
    def forgets(self) -> bool:
        """Whether an input of any size leaves no trace in time."""
        return bool(self.operator.layout(self.shapes).rings) or isinstance(self.operator, Ewma)

    def driver(self, keys: int = 1) -> Driver:
        return Driver(self.operator, self.shapes, keys)

    def columns(self, n: int, rng: np.random.Generator) -> dict[str, Floats]:
        """Inputs of n events by role."""
        return {role: rng.normal(size=(n, *shape)) for role, shape in self.shapes.items()}


NUMBER: Mapping[str, Shape] = {"value": ()}
VECTOR: Mapping[str, Shape] = {"value": (3,)}
PAIR: Mapping[str, Shape] = {"key": (3,), "value": (2,)}
ASKED: Mapping[str, Shape] = {**PAIR, "query": (3,)}

_KV: dict[str, Any] = {"key": "k", "value": "v"}
_ASK: dict[str, Any] = {**_KV, "query": "q"}

CASES = [
    Case("count", Count(), {}, same_bits=True, any_order=True),
    Case("mean", Mean(value="x"), NUMBER, same_bits=True, any_order=True),
    Case("mean-vector", Mean(value="x"), VECTOR, same_bits=True, any_order=True),
    Case("moving_mean-1", MovingMean(value="x", window=1), NUMBER, same_bits=True),
    Case("moving_mean-7", MovingMean(value="x", window=7), NUMBER, same_bits=True),
    Case("moving_mean-full", MovingMean(value="x", window=5, min_count=5), VECTOR, same_bits=True),
    Case("moving_mean-256", MovingMean(value="x", window=256), NUMBER, same_bits=True),
    Case("weighted-1", WeightedMovingMean(value="x", weights=[2.0]), NUMBER, same_bits=True),
    Case("weighted-3", WeightedMovingMean(value="x", weights=[0.1, 0.3, 0.6]), VECTOR, same_bits=True),
    Case("weighted-9", WeightedMovingMean(value="x", weights=range(1, 10), min_count=4), NUMBER, same_bits=True),
    Case("ewma-alpha", Ewma(value="x", alpha=0.3), NUMBER),
    Case("ewma-1", Ewma(value="x", alpha=1.0), NUMBER),
    Case("ewma-slow", Ewma(value="x", alpha=1e-6), VECTOR),
    Case("ewma-span", Ewma(value="x", span=9, adjust=False), NUMBER),
    Case("ewma-time", Ewma(value="x", half_life="3s"), NUMBER, any_order=True),
    Case("ewma-time-vector", Ewma(value="x", half_life="2m"), VECTOR, any_order=True),
    Case("kv_mean", KvMean(**_KV), PAIR, same_bits=True, any_order=True, factors=2),
    Case("kv_mean-query", KvMean(**_ASK), ASKED, same_bits=True, any_order=True, factors=2),
    Case("kv_window", KvWindow(**_KV, window=8), PAIR, factors=2),
    Case("kv_window-before", KvWindow(**_ASK, window=5, readout="before"), ASKED, factors=2),
    Case("linear-identity", LinearAttention(**_KV, feature_map="identity"), PAIR, any_order=True, factors=3),
    Case("linear-elu1", LinearAttention(**_ASK, feature_map="elu1"), ASKED, any_order=True, factors=3),
    Case("linear-relu", LinearAttention(**_KV, feature_map="relu"), PAIR, any_order=True, factors=3),
    Case("linear-relu2", LinearAttention(**_ASK, feature_map="relu2", readout="before"), ASKED, factors=5),
]


def zipf_keys(n: int, keys: int, rng: np.random.Generator) -> Ints:
    """Keys of n events, few of them frequent and many rare."""
    weight = 1.0 / np.arange(1, keys + 1)
    return rng.choice(keys, n, p=weight / weight.sum())


def history(keys: Ints, columns: Mapping[str, Floats], times: Floats, event: int) -> History:
    """All events of an event's key up to it."""
    at = np.flatnonzero(keys[: event + 1] == keys[event])
    return History({role: column[at] for role, column in columns.items()}, times[at])


def row(readout: Readout, i: int) -> Any:
    """One result of many."""
    picked = {name: part[i] for name, part in parts(readout).items()}
    return picked if isinstance(readout, dict) else picked[""]
