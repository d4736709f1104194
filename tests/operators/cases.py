"""Operators as they are tried: every type, with the options that change what it computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators import Operator
from operators.columns.grouping import Floats, Ints
from operators.operator import Readout, Shape
from tests.operators.driver import Driver, parts
from tests.operators.oracle import History


@dataclass(frozen=True)
class Case:
    """An operator and its inputs.

    ``same_bits``: results don't depend on the batches at all. ``any_order``: the state doesn't depend on the order of
    arrival. ``forgets``: an input of any size leaves no trace in time. ``factors``: how many inputs are multiplied in
    its sums. ``ranges``: bounds of a role's inputs (of others there are none). ``empty``: the result before any event.
    ``tenths``: the read-out after 1,000,001 events whose every input is 0.1, or None if that says nothing.
    ``tolerance``: the error allowed, relative to the size.
    """

    name: str
    operator: Operator
    shapes: Mapping[str, Shape]
    same_bits: bool = False
    any_order: bool = False
    forgets: bool = False
    factors: int = 1
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    empty: float = math.nan
    tenths: float | Mapping[str, float] | None = None
    tolerance: float = 1e-12

    def driver(self, keys: int = 1) -> Driver:
        return Driver(self.operator, self.shapes, keys)

    def columns(self, n: int, rng: np.random.Generator) -> dict[str, Floats]:
        """Inputs of n events by role."""
        return {
            role: rng.uniform(*self.ranges[role], (n, *shape)) if role in self.ranges else rng.normal(size=(n, *shape))
            for role, shape in self.shapes.items()
        }


NUMBER: Mapping[str, Shape] = {"value": ()}
VECTOR: Mapping[str, Shape] = {"value": (3,)}
PAIR: Mapping[str, Shape] = {"key": (3,), "value": (2,)}
ASKED: Mapping[str, Shape] = {**PAIR, "query": (3,)}


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
