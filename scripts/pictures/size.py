"""Bytes of a key's memory against the number of its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators import DeltaRule, KvWindow, LinearAttention, Mean, Memory, Operator
from scripts.drawing import COLOURS, GREY, Axis, Line, chart, decades

SIZE = 16
MOST = 10**5
BATCH = 10_000

_PAIR: dict[str, Any] = {"key": "key", "value": "value"}

OPERATORS: Mapping[str, Operator] = {
    "mean": Mean(value="x"),
    "linear_attention": LinearAttention(**_PAIR),
    "delta_rule": DeltaRule(**_PAIR, rate=0.3),
    "kv_window, 256 pairs": KvWindow(**_PAIR, window=256),
}


def nbytes(operator: Operator, counts: list[int]) -> list[int]:
    """Bytes of the state of one key after so many events, in order."""
    memory, sizes, done = Memory(operator, {"key": SIZE, "value": SIZE}), [], 0
    for count in counts:
        while done < count:
            new = min(count - done, BATCH)
            columns = {"x": np.ones(new), "key": np.ones((new, SIZE)), "value": np.ones((new, SIZE))}
            memory.fold(["press-1"] * new, columns, each=False)
            done += new
        state = memory.state()
        rings = sum(ring.array[ring.rows].nbytes for ring in state.rings.values())
        sizes.append(sum(array.nbytes for array in state.fields.values()) + rings)
    return sizes


def picture() -> str:
    """Both on logarithmic axes."""
    counts = [10**power for power in range(round(np.log10(MOST)) + 1)]
    kept = {"all numbers kept": 8, "all pairs kept": 8 * 2 * SIZE}
    lines = [Line(name, [(count, each * count) for count in counts], GREY, dashed=True) for name, each in kept.items()]
    for (name, operator), colour in zip(OPERATORS.items(), COLOURS, strict=False):
        lines.append(Line(name, list(zip(counts, nbytes(operator, counts), strict=True)), colour))
    return chart(
        f"Bytes of one key, pairs of {SIZE} + {SIZE} numbers",
        Axis("events of the key", 1, MOST, decades(1, MOST), log=True),
        Axis("bytes", 1, 1e8, decades(1, 1e8), log=True),
        lines,
    )
