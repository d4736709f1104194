"""Gated linear attention: a matrix of key-value pairs that fades as much as each event says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats
from operators.columns.inputs import refuse
from operators.matrices.fading_matrix import FadingMatrix
from operators.operator import Batch, Field, FieldSpec, Layout, OperatorError, Readout, Shape, State
from operators.pairs.key_value import KeyValue


@dataclass(frozen=True, kw_only=True)
class GatedLinearAttention(FadingMatrix):
    """A matrix of pairs that each event makes fade as its own gate says, before it adds its pair.

        S_i = diag(a_i) S_{i-1} + k_i^T v_i,  o_i = q_i S_i

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``gate``, a: a field with a number above 0, at
    most 1, or with as many of them as the key has, each for a row of S; ``readout``, after the event, or before its
    gate and its pair: the prediction and its error. An event with another gate is refused. Nothing is divided by.
    State: the count, S, the product of all gates and the newest query, 1 + d_k d_v + 2 d_k numbers, or
    2 + d_k d_v + d_k with one gate an event; with ``readout = "before"`` 1 + 2 d_v more.
    Gates are multiplied from both sides of a boundary between two events, never divided or summed up as logarithms: no
    gate is too small. A rounding error fades as what it belongs to does.
    Reference: Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, arXiv 2312.06635.
    """

    gate: FieldSpec

    roles: ClassVar[tuple[str, ...]] = (*KeyValue.roles, "gate")

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, S, the newest query, and the product of all gates."""
        gate, key = shapes["gate"], shapes["key"]
        if gate not in ((), key):
            expected = f"one number, or as many as the key has: {key[0]}" if key else "one number"
            raise OperatorError("gate", f"found {gate[0]} numbers, expected {expected}")
        layout = super().layout(shapes)
        return replace(layout, fields=(*layout.fields, Field("left", gate, initial=1.0)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Let the memory fade and add the batch to it; the read-out at each event."""
        gate = batch.columns["gate"]
        refuse("gate", gate, (gate > 0) & (gate <= 1), "a number above 0, at most 1")
        if len(gate):
            state["left"] *= np.multiply.reduceat(gate, batch.groups.start, axis=0)
        return super().fold(state, batch, each=each)

    def gates(self, batch: Batch) -> Floats:
        """The gates that events bring."""
        return _column(batch.columns["gate"])

    def left(self, state: State) -> Floats:
        """The product of the gates."""
        return _column(state["left"])

    def merge(self, state: State, other: State) -> None:
        """Let the memory fade by the other one's gates, and add what its events left."""
        super().merge(state, other)
        state["left"] *= other["left"]


def _column(gates: Floats) -> Floats:
    """Gates (n,) or (n, d_k) with an axis for the one head there is: (n, 1, 1 or d_k)."""
    return gates[:, None, None] if gates.ndim == 1 else gates[:, None]
