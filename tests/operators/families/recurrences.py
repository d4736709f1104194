"""Functions of one's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from operators import recurrent
from operators.columns.grouping import Floats
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles


@recurrent(state="value")
def fading(h: Floats, value: Floats, *, rate: float = 0.25) -> Floats:
    """An average that starts at 0."""
    return h + rate * (value - h)


@recurrent(
    state={"sum": 0.0, "newest": 0.0}, read=lambda h, *, scale=1.0: {**h, "sum": scale * h["sum"]}, one_by_one=True
)
def paid(h: Any, time: float, value: float, weight: float | None = None) -> Any:
    """What was paid, in some currency, and when it was last."""
    return {"sum": h["sum"] + value * (1.0 if weight is None else weight), "newest": max(h["newest"], time)}


def _fading(operator: Any, history: History) -> Expected:
    values = history.columns["value"]
    terms = values * (operator.rate * (1.0 - operator.rate) ** np.arange(len(values) - 1.0, -1.0, -1.0))[:, None]
    value, size = (np.array([math.fsum(line) for line in part.T.tolist()]) for part in (terms, np.abs(terms)))
    return Expected(value, size)


def _paid(operator: Any, history: History) -> Expected:
    weights = history.columns.get("weight", np.ones(len(history.time)))
    terms = (operator.scale * weights * history.columns["value"]).tolist()
    newest = history.time.max()
    return Expected({"sum": math.fsum(terms), "newest": newest}, {"sum": math.fsum(map(abs, terms)), "newest": newest})


ORACLES: Oracles = {fading: _fading, paid: _paid}

CASES = [
    Case("recurrent", fading(value="x", rate=0.5), VECTOR, same_bits=True, empty=0.0),
    Case("recurrent-one_by_one", paid(value="x"), NUMBER, same_bits=True, empty=0.0),
    Case(
        "recurrent-options",
        paid(value="x", weight="w", scale=3.0),
        {"value": (), "weight": ()},
        same_bits=True,
        factors=2,
        empty=0.0,
    ),
]
