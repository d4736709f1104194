"""What is measured: every operator with options and inputs of its own, and the loops beside some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.operators import loops, records
from bench.operators.loops import Loop
from bench.operators.records import by_record
from operators import (
    Corr,
    Count,
    Cov,
    Cusum,
    DeltaRule,
    EventRate,
    Ewma,
    Ewvar,
    Fifo,
    First,
    GatedDeltaRule,
    GatedLinearAttention,
    Infini,
    KvEwma,
    KvMean,
    KvMovingMean,
    KvWeightedMovingMean,
    KvWindow,
    Last,
    LinearAttention,
    Lru,
    Max,
    Mean,
    Min,
    Mlstm,
    MovingMax,
    MovingMean,
    MovingMin,
    MovingStd,
    MovingSum,
    MovingVar,
    Operator,
    Quantile,
    Retention,
    Ridge,
    Rwkv,
    Std,
    Sum,
    TimeWeightedMean,
    Var,
    WeightedMean,
    WeightedMovingMean,
    ZScore,
)
from operators.columns.grouping import Floats
from operators.operator import Shape

SIZE = 16
"""Numbers in every vector."""

WINDOW = 256
"""Events in every window by number; time windows are of as many seconds, one event a second."""

_PAIR: dict[str, Any] = {"key": "k", "value": "v"}

SHAPES: Mapping[str, Shape] = {
    "x": (),
    "w": (),
    "g": (),
    "k": (SIZE,),
    "v": (SIZE,),
    "a": (SIZE,),
}
"""The fields of an event: a number, a weight above 0, a gate, a key, a value, and a gate for each number of the key."""

SUBJECTS: Mapping[str, Operator] = {
    "count": Count(),
    "sum": Sum(value="x"),
    "mean": Mean(value="x"),
    "weighted_mean": WeightedMean(value="x", weight="w"),
    "var": Var(value="x"),
    "std": Std(value="x"),
    "zscore": ZScore(value="x"),
    "min": Min(value="x"),
    "max": Max(value="x"),
    "first": First(value="x"),
    "last": Last(value="x"),
    "cov": Cov(value="x", other="w"),
    "corr": Corr(value="x", other="w"),
    "moving_mean": MovingMean(value="x", window=WINDOW),
    "moving_mean, panes of time": MovingMean(value="x", window=f"{WINDOW}s"),
    "moving_mean, events of time": MovingMean(value="x", window=f"{WINDOW}s", max_events=WINDOW),
    "moving_sum": MovingSum(value="x", window=WINDOW),
    "moving_min": MovingMin(value="x", window=WINDOW),
    "moving_max": MovingMax(value="x", window=WINDOW),
    "moving_var": MovingVar(value="x", window=WINDOW),
    "moving_std": MovingStd(value="x", window=WINDOW),
    "weighted_moving_mean": WeightedMovingMean(value="x", weights=range(1, WINDOW + 1)),
    "ewma": Ewma(value="x", alpha=0.1),
    "ewma, half_life": Ewma(value="x", half_life=60),
    "ewvar": Ewvar(value="x", alpha=0.1),
    "event_rate": EventRate(half_life=60),
    "time_weighted_mean": TimeWeightedMean(value="x"),
    "quantile": Quantile(value="x", q=0.5),
    "cusum": Cusum(value="x"),
    "kv_mean": KvMean(**_PAIR),
    "kv_moving_mean": KvMovingMean(**_PAIR, window=WINDOW),
    "kv_weighted_moving_mean": KvWeightedMovingMean(**_PAIR, weights=range(1, WINDOW + 1)),
    "kv_ewma": KvEwma(**_PAIR, alpha=0.1),
    "kv_window": KvWindow(**_PAIR, window=WINDOW),
    "fifo": Fifo(**_PAIR, window=WINDOW, segment=16, compressed=WINDOW),
    "infini": Infini(**_PAIR, window=WINDOW),
    "linear_attention": LinearAttention(**_PAIR),
    "linear_attention, half_life": LinearAttention(**_PAIR, half_life=60),
    "retention": Retention(**_PAIR, gamma=0.99),
    "gated_linear_attention": GatedLinearAttention(**_PAIR, gate="a"),
    "mlstm": Mlstm(**_PAIR, input_gate="x", forget_gate="g"),
    "rwkv": Rwkv(key="x", value="w"),
    "lru": Lru(value="x", magnitudes=(0.9, 0.99), phases=(0.0, 0.5)),
    "delta_rule": DeltaRule(**_PAIR, rate=0.3),
    "gated_delta_rule": GatedDeltaRule(**_PAIR, rate=0.3, gamma=0.99),
    "ridge": Ridge(**_PAIR, l2=1.0),
}
"""By the name of their figures; every type of operator is one of them."""


@dataclass(frozen=True)
class Versus:
    """A loop that computes what a subject does; and one that has an object a key, for memories of numbers."""

    loop: Callable[[int], Loop]
    records: Callable[[int], Loop] | None = None


NUMBERS: Mapping[str, Versus] = {
    "mean": Versus(loops.mean, by_record(records.Mean)),
    "weighted_mean": Versus(loops.weighted_mean, by_record(records.WeightedMean)),
    "moving_mean": Versus(
        partial(loops.moving_mean, window=WINDOW), by_record(partial(records.MovingMean, window=WINDOW))
    ),
    "ewma": Versus(partial(loops.ewma, alpha=0.1), by_record(partial(records.Ewma, alpha=0.1))),
    "ewma, half_life": Versus(
        partial(loops.timed_ewma, half_life=60.0), by_record(partial(records.TimedEwma, half_life=60.0))
    ),
}
"""Loops for means of numbers, by subject."""

MATRICES: Mapping[str, Versus] = {
    "linear_attention": Versus(partial(loops.linear_attention, size=SIZE)),
    "retention": Versus(partial(loops.retention, size=SIZE, gamma=0.99)),
    "gated_linear_attention": Versus(partial(loops.gated_linear_attention, size=SIZE)),
    "mlstm": Versus(partial(loops.mlstm, size=SIZE)),
    "delta_rule": Versus(partial(loops.delta_rule, size=SIZE, rate=0.3)),
    "gated_delta_rule": Versus(partial(loops.delta_rule, size=SIZE, rate=0.3, gamma=0.99)),
    "ridge": Versus(partial(loops.ridge, size=SIZE, l2=1.0)),
}
"""Loops for memories that are matrices, by subject."""


def inputs(events: int, rng: np.random.Generator) -> dict[str, Floats]:
    """The columns of so many events, by field."""
    columns = {field: rng.normal(size=(events, *shape)) for field, shape in SHAPES.items()}
    gates = {field: rng.uniform(0.9, 1.0, (events, *SHAPES[field])) for field in ("g", "a")}
    return columns | gates | {"w": rng.uniform(0.5, 1.5, events)}
