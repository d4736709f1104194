"""Where one operator's state lives: a struct of arrays with a row for each key, grown by doubling.

The engine gathers the rows that a batch touches, lets the operator fold into that copy, and puts it back only when it
is sound; rings of raw inputs are never copied, the engine appends to them after the fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.grouping import Groups
from operators.operator import Operator, Ring, RingView, Shape, State
from pipeline.core.batch import Floats, Ints

_PAGE_BYTES = 1024
_FIRST_CAPACITY = 64

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pages:
    """A ring's storage: ``array`` is (capacity, pages, slots a page, *shape); the last page may be used in part."""

    ring: Ring
    array: Floats

    @property
    def slots(self) -> int:
        """Inputs that one page holds."""
        return int(self.array.shape[2])

    @property
    def page_bytes(self) -> int:
        """Length of one page's bytes."""
        return int(self.array[:1, :1].size) * 8

    def inputs(self) -> Floats:
        """The ring slot by slot: ``(capacity, length, *shape)``, a view."""
        capacity, pages, slots = self.array.shape[:3]
        return self.array.reshape((capacity, pages * slots, *self.ring.shape))[:, : self.ring.length]


def _pages(ring: Ring, capacity: int) -> Pages:
    slot_bytes = 8 * int(np.prod(ring.shape, dtype=np.int64))
    slots = min(ring.length, max(1, _PAGE_BYTES // slot_bytes))
    count = -(-ring.length // slots)
    return Pages(ring, np.zeros((capacity, count, slots, *ring.shape)))


class Memory:
    """The state of one operator for all keys of a table's partition."""

    def __init__(self, operator: Operator, shapes: Mapping[str, Shape]) -> None:
        self.operator = operator
        self.layout = operator.layout(shapes)
        self._capacity = _FIRST_CAPACITY
        self.fields: dict[str, Array] = {
            field.name: np.full((self._capacity, *field.shape), field.initial, field.dtype)
            for field in self.layout.fields
        }
        self.rings: dict[str, Pages] = {ring.role: _pages(ring, self._capacity) for ring in self.layout.rings}
        self._logged: Ints = np.zeros(self._capacity, np.int64)

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows; new ones hold the initial state."""
        if rows <= self._capacity:
            return
        old, self._capacity = self._capacity, max(rows, 2 * self._capacity)
        for field in self.layout.fields:
            grown = np.full((self._capacity, *field.shape), field.initial, field.dtype)
            grown[:old] = self.fields[field.name]
            self.fields[field.name] = grown
        for role, pages in self.rings.items():
            wider = np.zeros((self._capacity, *pages.array.shape[1:]))
            wider[:old] = pages.array
            self.rings[role] = Pages(pages.ring, wider)
        self._logged = np.concatenate([self._logged, np.zeros(self._capacity - old, np.int64)])

    def gather(self, rows: Ints) -> State:
        """A copy of the fields of these rows, with a view of their rings."""
        return State(
            {name: array[rows] for name, array in self.fields.items()},
            {role: RingView(pages.inputs(), rows) for role, pages in self.rings.items()},
        )

    def scatter(self, rows: Ints, state: State, groups: Groups, columns: Mapping[str, Floats]) -> None:
        """Put folded fields back, and append the inputs of the batch (sorted by group) to the rings."""
        if self.rings:
            self._append(rows, groups, columns)
        for name, array in self.fields.items():
            array[rows] = state[name]

    def _append(self, rows: Ints, groups: Groups, columns: Mapping[str, Floats]) -> None:
        before = self.fields["count"][rows]
        for role, pages in self.rings.items():
            length = pages.ring.length
            keep = groups.position >= groups.count[groups.segment] - length
            segment = groups.segment[keep]
            slot = (before[segment] + groups.position[keep]) % length
            pages.inputs()[rows[segment], slot] = columns[role][keep]

    def clear(self, rows: Ints) -> None:
        """Back to the initial state."""
        for field in self.layout.fields:
            self.fields[field.name][rows] = field.initial
        for pages in self.rings.values():
            pages.array[rows] = 0.0
        self._logged[rows] = 0

    def changed_pages(self, rows: Ints) -> Iterator[tuple[int, Ints, Ints, bytes]]:
        """The pages that hold inputs folded since the last call, which counts them as logged.

        For each ring: its number, and the rows, the page numbers and the joined bytes of those pages.
        """
        if not self.rings:
            return
        count = self.fields["count"][rows]
        fresh = count - self._logged[rows]
        self._logged[rows] = count
        for number, pages in enumerate(self.rings.values()):
            new = np.minimum(fresh, pages.ring.length)
            place = np.repeat(np.arange(len(rows)), new)
            nth = np.arange(len(place)) - np.repeat(np.cumsum(new) - new, new)
            slot = (count[place] - 1 - nth) % pages.ring.length
            many = pages.array.shape[1]
            touched = np.unique(place * many + slot // pages.slots)
            at, page = rows[touched // many], touched % many
            yield number, at, page, pages.array[at, page].tobytes()

    def restore_pages(self, ring: int, rows: Ints, page: Ints, raw: bytes) -> None:
        """Put back pages as :meth:`changed_pages` gave them."""
        pages = list(self.rings.values())[ring]
        pages.array[rows, page] = np.frombuffer(raw).reshape((len(rows), *pages.array.shape[2:]))

    def restored(self, rows: Ints) -> None:
        """All of these rows are as the log has them."""
        if self.rings:
            self._logged[rows] = self.fields["count"][rows]

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        arrays = [*self.fields.values(), *(pages.array for pages in self.rings.values())]
        return sum(array.nbytes for array in arrays)
