"""Folding in two stages: what was folded apart, of some events each, is merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from operators.columns.grouping import Floats
from operators.operator import Algebra, Batch, Field, Layout, Operator, Readout, Shape, State


@dataclass(frozen=True, kw_only=True)
class Merging(Operator):
    """Another operator's memory, whose events are memories of that operator: they are merged, in whatever order.

    Parameters: ``inner``, the operator, which has no rings; ``fields``, those of its layout; ``name``, which goes
    before the names of the fields in an event: ``average.sum``. An array of the state is a vector there, row by row.
    State: that of the other operator.
    """

    inner: Operator
    fields: tuple[Field, ...]
    name: str

    roles = ()

    @property
    def algebra(self) -> Algebra:
        """That of the other operator."""
        return self.inner.algebra

    def inputs(self) -> dict[str, str | tuple[str, ...]]:
        """A field of the event for each of the state."""
        return {field.name: f"{self.name}.{field.name}" for field in self.fields}

    def widths(self) -> dict[str, int]:
        """The lengths of those that are vectors in an event."""
        return {f"{self.name}.{field.name}": prod(field.shape) for field in self.fields if field.shape}

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """That of the other operator."""
        return Layout(self.fields)

    def taken(self, state: State) -> dict[str, Floats]:
        """A state of G keys as columns of events; all NaN where it is not finite, as before the first event.

        Whole numbers become doubles, which hold them exactly up to 2^53.
        """
        count = len(next(iter(state.fields.values())))
        rows = {field.name: state[field.name].reshape(count, prod(field.shape)) for field in self.fields}
        sound = np.logical_and.reduce([np.isfinite(row).all(axis=1) for row in rows.values()])
        whole = {name: np.where(sound[:, None], row, np.nan) for name, row in rows.items()}
        return {
            f"{self.name}.{field.name}": whole[field.name] if field.shape else whole[field.name][:, 0]
            for field in self.fields
        }

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Merge the first memory of each key, then the second of those that have one, and so on."""
        if each:
            raise ValueError("memories are merged without results in between")
        count, start = batch.groups.count, batch.groups.start
        for rank in range(int(count.max(initial=0))):
            keys = np.flatnonzero(count > rank)
            part = State({name: array[keys] for name, array in state.fields.items()})
            self.inner.merge(part, self._given(batch, start[keys] + rank))
            for name, array in part.fields.items():
                state.fields[name][keys] = array
        return None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        """What the other operator reads."""
        return self.inner.read(state, query)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """What the other operator exports."""
        return self.inner.export(state)

    def merge(self, state: State, other: State) -> None:
        """As the other operator does."""
        self.inner.merge(state, other)

    def _given(self, batch: Batch, events: np.ndarray) -> State:
        return State(
            {
                field.name: batch.columns[field.name][events].reshape((-1, *field.shape)).astype(field.dtype)
                for field in self.fields
            }
        )
