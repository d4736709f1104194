"""How much each past event counts: found by running the operators, one event moved at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from operators import Ewma, Mean, MovingMean, Operator, WeightedMovingMean
from operators.columns.grouping import Floats
from operators.memory import Memory
from scripts.drawing import COLOURS, Axis, Line, chart

EVENTS = 100
WINDOW = 25

OPERATORS: Mapping[str, Operator] = {
    "mean": Mean(value="x"),
    f"moving mean of {WINDOW}": MovingMean(value="x", window=WINDOW),
    "weighted moving mean": WeightedMovingMean(value="x", weights=range(1, WINDOW + 1)),
    "ewma, alpha = 0.08": Ewma(value="x", alpha=0.08),
}


def influence(operator: Operator) -> Floats:
    """By age, 0 being the newest event, how far the result moves when that event moves by 1.

    Key j has events that are all 0 but for a 1 at its j-th.
    """
    moved = np.eye(EVENTS)
    keys = np.repeat(np.arange(EVENTS), EVENTS)
    memory = Memory(operator)
    memory.fold(keys, {"x": moved.ravel()}, each=False)
    means: Floats = np.asarray(memory.read(range(EVENTS)))
    return means[::-1]


def picture() -> str:
    """Influence over age."""
    lines = [
        Line(name, list(enumerate(influence(operator).tolist())), colour)
        for (name, operator), colour in zip(OPERATORS.items(), COLOURS, strict=False)
    ]
    return chart(
        f"What each of {EVENTS} events counts in the result",
        Axis("age of the event: how many came after it", 0, EVENTS - 1, range(0, EVENTS, 20)),
        Axis("influence", 0, 0.1, (0, 0.02, 0.04, 0.06, 0.08, 0.1)),
        lines,
    )
