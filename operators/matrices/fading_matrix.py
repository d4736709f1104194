"""What matrix memories that fade have in common: a gate before every event, and a read-out that divides by nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.grouping import Floats
from operators.matrices.linear_recurrence import fold_pairs
from operators.operator import Algebra, Batch, Field, Layout, Readout, Shape, State
from operators.pairs.key_value import Attention, KeyValue


@dataclass(frozen=True, kw_only=True)
class FadingMatrix(Attention):
    """A matrix S, zero at first, that each event makes fade and then adds its pair to: S = a S + k^T v, read as q S.

    It may have several heads, which fade each in its own way. Sums are plain: a rounding error fades as the memory
    does, so what is lost is about the unit roundoff times the number of events that it remembers, 1 / (1 - a).
    """

    @property
    def algebra(self) -> Algebra:
        """Ordered: later events make earlier ones fade."""
        return "ordered"

    @property
    def heads_shape(self) -> Shape:
        """The leading axis of a read-out, if there are several heads."""
        return ()

    @abstractmethod
    def gates(self, batch: Batch) -> Floats:
        """What each event leaves of the memory before it, (N, H, 1), or of each row of it, (N, H, d_k)."""

    @abstractmethod
    def left(self, state: State) -> Floats:
        """What the events of each key together left of a memory before them, (G, H, 1 or d_k)."""

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, S, and the newest query."""
        d_k, d_v = self.sizes({role: shape for role, shape in shapes.items() if role in KeyValue.roles})
        memory = Field("memory", (*self.heads_shape, d_k, d_v))
        return Layout((Field("count", dtype="<i8"), memory, *self.newest_fields(d_k, d_v, self.heads_shape)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Let the memory fade and add the batch to it; the read-out at each event."""
        state["count"] += batch.groups.count
        readouts = fold_pairs(
            batch.groups,
            self._by_head(state["memory"]),
            batch.columns["key"][:, None],
            batch.columns["value"],
            gates=self.gates(batch),
            queries=self.queries(batch)[:, None] if each or self.readout == "before" else None,
            own=self.readout == "after",
        )
        if readouts is not None and not self.heads_shape:
            readouts = readouts[:, 0]
        return self.results(state, batch, readouts, each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """The product of query and memory."""
        value: Floats = np.einsum("gk,g...kv->g...v", query, state["memory"])
        return value

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "memory": [[...]]}``; of heads a list of matrices."""
        rows = zip(state["count"].tolist(), state["memory"].tolist(), strict=True)
        return [{"count": count, "memory": memory} for count, memory in rows]

    def merge(self, state: State, other: State) -> None:
        """Let the memory fade by the other one's events, and add what they left."""
        memory = self._by_head(state["memory"])
        memory *= self.left(other)[..., None]
        state["memory"] += other["memory"]
        state["count"] += other["count"]
        self.take_newest(state, other)

    def _by_head(self, array: Floats) -> Floats:
        """The array with an axis for the heads even if there is but one: a view."""
        return array if self.heads_shape else array[:, None]
