"""What memories that are asked answer with: the share of each past event's value in the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators import DeltaRule, KvMean, KvWindow, LinearAttention, Memory, Operator
from operators.columns.grouping import Floats
from scripts.drawing import Bars, bars

SITUATIONS, EVENTS = 4, 24
RUN = 2
ASKED = 0

_PAIR: dict[str, Any] = {"key": "key", "value": "value"}

OPERATORS: Mapping[str, Operator] = {
    "kv_mean: all pairs as one, whatever the question": KvMean(**_PAIR),
    "kv_window: the newest 12 pairs, those alike": KvWindow(**_PAIR, window=12),
    "linear_attention: all that were alike, evenly": LinearAttention(**_PAIR, feature_map="identity"),
    "linear_attention with a half-life of 8 seconds: alike ones, fading": LinearAttention(
        **_PAIR, feature_map="identity", half_life=8.0
    ),
    "delta_rule: alike ones replace each other": DeltaRule(**_PAIR, rate=0.6),
}


def situations() -> list[int]:
    """Which situation each event is in: each lasts for two events, then comes the next."""
    return [i // RUN % SITUATIONS for i in range(EVENTS)]


def shares(operator: Operator) -> Floats:
    """How far the answer moves when the value of event j moves by 1: values are vectors with a 1 at j."""
    keys = 5.0 * np.eye(SITUATIONS)[situations()]
    memory = Memory(operator, {"key": SITUATIONS, "value": EVENTS})
    memory.fold(["press-1"] * EVENTS, {"key": keys, "value": np.eye(EVENTS)}, range(EVENTS), each=False)
    answer = memory.read(["press-1"], 5.0 * np.eye(SITUATIONS)[ASKED])
    values: Floats = np.asarray(answer["value"] if isinstance(answer, dict) else answer)[0]
    return values


def picture() -> str:
    """A row of bars for each memory, one bar an event; those of the situation asked for are blue."""
    alike = [situation == ASKED for situation in situations()]
    rows = [Bars(name, shares(operator).tolist(), alike) for name, operator in OPERATORS.items()]
    return bars(
        "Asked for situation A: the share of each past event's value in the answer",
        ["ABCD"[situation] for situation in situations()],
        "situation of each event, one a second, the newest on the right",
        rows,
    )
