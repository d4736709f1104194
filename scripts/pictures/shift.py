"""What means make of a level that changes for good."""

from __future__ import annotations

import numpy as np

from operators import Memory
from scripts.drawing import COLOURS, Axis, Line, chart
from scripts.pictures.influence import OPERATORS

BEFORE, EVENTS = 300, 600
LOW, HIGH = 10.0, 20.0


def picture() -> str:
    """Readings around one level, then around another, and each mean after every event."""
    readings = np.random.default_rng(4).normal(0, 0.7, EVENTS) + np.where(np.arange(EVENTS) < BEFORE, LOW, HIGH)
    lines = [Line("readings", list(enumerate(readings.tolist(), 1)), "#d5d9dd")]
    for (name, operator), colour in zip(OPERATORS.items(), COLOURS, strict=False):
        means = np.asarray(Memory(operator).fold(["press-1"] * EVENTS, {"x": readings}))
        lines.append(Line(name, list(enumerate(means.tolist(), 1)), colour))
    return chart(
        "Readings that move from 10 to 20, and what the means make of it",
        Axis("events", 1, EVENTS, range(100, EVENTS + 1, 100)),
        Axis("mean", 8, 22, (8, 10, 12, 14, 16, 18, 20, 22)),
        lines,
        marks=[BEFORE],
    )
