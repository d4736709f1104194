"""How well memories predict, before and after the world changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators import DeltaRule, Ewma, KvWindow, LinearAttention, Mean, Memory, Operator, Ridge
from operators.columns.grouping import Floats
from scripts.drawing import COLOURS, GREY, Axis, Line, chart

MACHINES, EVENTS, CHANGE = 40, 3000, 1500
SIZE, NOISE = 8, 0.1
WINDOW = 25
"""Events that an error is averaged over, beside the machines."""

_BEFORE: dict[str, Any] = {"key": "key", "value": "value", "readout": "before"}

OPERATORS: Mapping[str, Operator] = {
    "mean": Mean(value="value"),
    "ewma, alpha = 0.05": Ewma(value="value", alpha=0.05),
    "linear_attention": LinearAttention(**_BEFORE),
    "kv_window, 64 pairs": KvWindow(**_BEFORE, window=64),
    "delta_rule, rate = 0.3": DeltaRule(**_BEFORE, rate=0.3),
    "ridge, half-life 70": Ridge(**_BEFORE, l2=1e-3, half_life=70),
}


def errors(operator: Operator, keys: Floats, values: Floats) -> Floats:
    """The error of the prediction at each event (MACHINES, EVENTS); a mean predicts what it was before the event."""
    names = np.repeat(np.arange(MACHINES), EVENTS)
    memory = Memory(operator, {"key": SIZE, "value": 1})
    columns = {"key": keys.reshape(-1, SIZE), "value": values.reshape(-1, 1)}
    result = memory.fold(names, columns, np.tile(np.arange(EVENTS), MACHINES))
    if isinstance(result, dict):
        error: Floats = result["error"]
        return np.reshape(error, values.shape)
    means: Floats = np.asarray(result, float).reshape(values.shape)
    means[:, 1:] = means[:, :-1]
    means[:, 0] = np.nan
    return values - means


def stream() -> tuple[Floats, Floats]:
    """Keys (MACHINES, EVENTS, SIZE) and values: v = k w + noise, w being new for each machine and after the change."""
    rng = np.random.default_rng(7)
    keys = rng.normal(size=(MACHINES, EVENTS, SIZE))
    weights = rng.normal(size=(2, MACHINES, SIZE))
    values = np.where(
        np.arange(EVENTS) < CHANGE,
        np.einsum("mnd,md->mn", keys, weights[0]),
        np.einsum("mnd,md->mn", keys, weights[1]),
    )
    return keys, values + rng.normal(0, NOISE, values.shape)


def picture() -> str:
    """The root mean square of the errors of all machines, over the events."""
    keys, values = stream()
    at = np.arange(WINDOW, EVENTS + 1, WINDOW)
    lines = [Line("noise", [(0, NOISE), (EVENTS, NOISE)], GREY, dashed=True)]
    for (name, operator), colour in zip(OPERATORS.items(), COLOURS, strict=False):
        squares = errors(operator, keys, values) ** 2
        rms = np.sqrt(np.nanmean(squares.reshape(MACHINES, -1, WINDOW), axis=(0, 2)))
        lines.append(Line(name, list(zip(at.tolist(), rms.tolist(), strict=True)), colour))
    return chart(
        f"Error of the prediction; after {CHANGE} events the relation of key and value is another",
        Axis("events of a machine", 0, EVENTS, range(0, EVENTS + 1, 500)),
        Axis("root mean square error", 0.05, 5, (0.05, 0.1, 0.2, 0.5, 1, 2, 5), log=True),
        lines,
        marks=[CHANGE],
    )
