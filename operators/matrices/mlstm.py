"""The matrix memory of the xLSTM: linear attention with an exponential input gate and a forget gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.arithmetic import divide, times
from operators.columns.grouping import Floats
from operators.columns.inputs import refuse
from operators.columns.parallel_scan import Parts, scan
from operators.matrices.linear_recurrence import fold_pairs
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, OperatorError, Readout, Shape, State
from operators.pairs.key_value import Attention, KeyValue


@dataclass(frozen=True, kw_only=True)
class Mlstm(Attention):
    """A matrix of pairs, each remembered as strongly as it says itself, on a scale without bounds.

        m_i = max(ln f_i + m_{i-1}, x_i),  C_i = f' C_{i-1} + x' k_i^T v_i,  n_i = f' n_{i-1} + x' k_i
        f' = e^(ln f_i + m_{i-1} - m_i),  x' = e^(x_i - m_i),  o = q C / max(|q n|, e^(-m))

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``input_gate``, x: a field with the logarithm of
    a pair's weight, any number (0 if left out); ``forget_gate``, f: a field with what a pair leaves of the memory
    before it, above 0, at most 1 (1 if left out); ``readout``, after the event, or before its gates and its pair: the
    prediction and its error. An event with another forget gate is refused. The read-out is a mean of values as long as
    the weights of keys like the query make up at least 1, else it is closer to 0.
    State: the count, C and n, their scale m, the sum of ln f and the newest query, 3 + d_k (d_v + 1) + d_k numbers;
    with ``readout = "before"`` 1 + 2 d_v more.
    C and n are kept divided by e^m, where m is about the largest weight there is, so that no weight overflows.
    Reference: Beck et al., xLSTM: Extended Long Short-Term Memory, arXiv 2405.04517.
    """

    input_gate: FieldSpec | None = None
    forget_gate: FieldSpec | None = None

    roles: ClassVar[tuple[str, ...]] = (*KeyValue.roles, "input_gate", "forget_gate")

    @property
    def algebra(self) -> Algebra:
        """Ordered: later events make earlier ones fade."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, C with n as its last column, their scale, the sum of ln f, and the newest query."""
        d_k, d_v = self.sizes({role: shape for role, shape in shapes.items() if role in KeyValue.roles})
        for role in ("input_gate", "forget_gate"):
            if shapes.get(role, ()) != ():
                raise OperatorError(role, f"found the vector {getattr(self, role)!r}, expected a field with one number")
        memory = (Field("memory", (d_k, d_v + 1)), Field("scale"), Field("forgotten"))
        return Layout((Field("count", dtype="<i8"), *memory, *self.newest_fields(d_k, d_v)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Let the memory fade and add the batch to it; the read-out at each event."""
        groups, values = batch.groups, batch.columns["value"]
        forgets, weights, before, after = self._scaled(state, batch)
        state["count"] += groups.count
        sums = fold_pairs(
            groups,
            state["memory"][:, None],
            times(weights, batch.columns["key"])[:, None],
            np.concatenate([values, np.ones((len(values), 1))], axis=1),
            gates=forgets[:, None, None],
            queries=self.queries(batch)[:, None] if each or self.readout == "before" else None,
            own=self.readout == "after",
        )
        readouts = None if sums is None else _bounded(sums[:, 0], after if self.readout == "after" else before)
        return self.results(state, batch, readouts, each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """The ratio of q C and q n, or of q C and 1."""
        return _bounded(np.einsum("gk,gkv->gv", query, state["memory"]), state["scale"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "memory": [[...]], "normalizer": [...], "scale": m}``: C and n, both divided by e^m."""
        memory, scale = state["memory"], state["scale"]
        columns = (state["count"], memory[:, :, :-1], memory[:, :, -1], scale)
        names = ("count", "memory", "normalizer", "scale")
        return [dict(zip(names, row, strict=True)) for row in zip(*(part.tolist() for part in columns), strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Let the memory fade by the other one's forget gates, and add what its events left."""
        faded, scale = _scale(state) + other["forgotten"], _scale(other)
        common = np.maximum(faded, scale)
        common[np.isneginf(common)] = 0.0
        old, new = np.exp(faded - common), np.exp(scale - common)
        state["memory"] = times(old, state["memory"]) + times(new, other["memory"])
        state["scale"] = common
        state["forgotten"] += other["forgotten"]
        state["count"] += other["count"]
        self.take_newest(state, other)

    def _scaled(self, state: State, batch: Batch) -> tuple[Floats, Floats, Floats, Floats]:
        """Each event's f' and x', and the scale before and after it, (N,); moves the scales of the state on."""
        groups, columns = batch.groups, batch.columns
        none = np.zeros(len(batch.time))
        forgets = columns.get("forget_gate", none + 1.0)
        refuse("forget_gate", forgets, (forgets > 0) & (forgets <= 1), "a number above 0, at most 1")
        kept, weight = np.log(forgets), columns.get("input_gate", none)
        forgotten, largest = scan(groups, _follow, (kept, weight), each=True)
        first = _scale(state)
        after = np.maximum(first[groups.segment] + forgotten, largest)
        before = np.concatenate([after[:1], after[:-1]])
        before[groups.start] = first
        state["scale"] = after[groups.last]
        state["forgotten"] += forgotten[groups.last]
        return np.exp(kept + before - after), np.exp(weight - after), before, after


def _scale(state: State) -> Floats:
    """The scales of the memories, minus infinity where nothing is in them."""
    return np.where(state["count"] > 0, state["scale"], -np.inf)


def _follow(older: Parts, newer: Parts) -> Parts:
    """The sums of ln f of runs that follow each other, and the largest weight that they leave."""
    return older[0] + newer[0], np.maximum(older[1] + newer[0], newer[1])


def _bounded(sums: Floats, scale: Floats) -> Floats:
    """The read-out q C / max(|q n|, e^(-m)), from q C with q n behind it."""
    return divide(sums[:, :-1], np.maximum(np.abs(sums[:, -1]), np.exp(-scale)))
