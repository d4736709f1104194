"""Where one operator's state lives: a struct of arrays with a row for each key, grown by half.

The rows that a batch touches are gathered, the operator folds into that copy, and it is put back only when it is sound;
rings of raw inputs are never copied, the batch is appended to them when the fold is put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats, Ints
from operators.operator import Batch, Layout, OperatorError, Ring, RingView, State

_FIRST_CAPACITY = 64

Array = npt.NDArray[Any]


class Rows:
    """The state of one operator for many keys: row r of every array belongs to the same key.

    ``fields[name]`` is (capacity, *shape), ``rings[role]`` (capacity, slots, *shape). A ring has as many slots as it is
    long, or ``slots[role]`` of which the last are not used.
    """

    def __init__(self, layout: Layout, slots: Mapping[str, int] | None = None) -> None:
        self.layout = layout
        self.fields: dict[str, Array] = {}
        self.rings: dict[str, Floats] = {}
        self._slots = slots or {ring.role: ring.length for ring in layout.rings}
        self._capacity = 0
        self.reserve(_FIRST_CAPACITY)

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows; new ones hold the initial state."""
        old = self._capacity
        if rows <= old:
            return
        self._capacity = max(rows, old + old // 2)
        for field in self.layout.fields:
            grown = np.full((self._capacity, *field.shape), field.initial, field.dtype)
            grown[:old] = self.fields.get(field.name, grown[:0])
            self.fields[field.name] = grown
        for ring in self.layout.rings:
            wider = np.zeros((self._capacity, self._slots[ring.role], *ring.shape))
            wider[:old] = self.rings.get(ring.role, wider[:0])
            self.rings[ring.role] = wider

    def gather(self, rows: Ints) -> State:
        """A copy of the fields of these rows, with a view of their rings that can't be written to."""
        return State(
            {name: array[rows] for name, array in self.fields.items()},
            {ring.role: RingView(read_only(self._inputs(ring)), rows) for ring in self.layout.rings},
        )

    def check(self, state: State) -> None:
        """Raise OperatorError if an operator left fields that are not as its layout says."""
        for name, like in self.fields.items():
            array = state[name]
            if array.dtype != like.dtype or array.shape[1:] != like.shape[1:]:
                found, expected = (f"{part.dtype} {part.shape[1:]}" for part in (array, like))
                raise OperatorError("type", f"the field {name!r} was left as {found}, its layout says {expected}")

    def scatter(self, rows: Ints, state: State, batch: Batch) -> None:
        """Put folded fields back, and append the inputs of the batch to the rings."""
        if self.rings:
            self._append(rows, batch)
        self.put(rows, state)

    def put(self, rows: Ints, state: State, rings: Mapping[str, Floats] | None = None) -> None:
        """Put fields back, and whole rings of these rows, (G, length, *shape), oldest first."""
        for name, array in self.fields.items():
            array[rows] = state[name]
        for role, inputs in (rings or {}).items():
            length = inputs.shape[1]
            slots = (state["count"][:, None] + np.arange(length)) % length
            self.rings[role][rows[:, None], slots] = inputs

    def clear(self, rows: Ints) -> None:
        """Back to the initial state."""
        for field in self.layout.fields:
            self.fields[field.name][rows] = field.initial
        for array in self.rings.values():
            array[rows] = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return sum(array.nbytes for array in [*self.fields.values(), *self.rings.values()])

    def _inputs(self, ring: Ring) -> Floats:
        """The slots of a ring that are used, ``(capacity, length, *shape)``: a view."""
        return self.rings[ring.role][:, : ring.length]

    def _append(self, rows: Ints, batch: Batch) -> None:
        groups, before = batch.groups, self.fields["count"][rows]
        for ring in self.layout.rings:
            column = batch.time if ring.role == "time" else batch.columns[ring.role]
            slots = self.rings[ring.role]
            place = groups.places(rows, before, ring.length, slots.shape[1])
            if groups.longest > ring.length:
                keep = groups.age < ring.length
                place, column = place[keep], column[keep]
            slots.reshape((-1, *ring.shape))[place] = column


def read_only(array: Array) -> Array:
    """A view of the array that can't be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
