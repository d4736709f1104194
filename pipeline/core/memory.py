"""The state of one operator in a table's partition, and which pages of its rings are new to the changelog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from operators.operator import Batch, Operator, Ring, Shape, State
from operators.state.rows import Rows
from pipeline.core.batch import Floats, Ints

_PAGE_BYTES = 1024


@dataclass(frozen=True)
class Pages:
    """How a ring is cut into pages, each a record of the changelog: ``count`` of ``slots`` inputs.

    The last page may be used in part.
    """

    ring: Ring
    slots: int
    count: int

    @property
    def page_bytes(self) -> int:
        """Length of one page's bytes."""
        return 8 * self.slots * prod(self.ring.shape)

    def of(self, inputs: Floats) -> Floats:
        """A ring's array page by page, ``(capacity, pages, slots, *shape)``: a view."""
        return inputs.reshape((-1, self.count, self.slots, *self.ring.shape))


def _pages(ring: Ring) -> Pages:
    slots = min(ring.length, max(1, _PAGE_BYTES // (8 * prod(ring.shape))))
    return Pages(ring, slots, -(-ring.length // slots))


class Memory(Rows):
    """The state of one operator for all keys of a table's partition."""

    def __init__(self, operator: Operator, shapes: Mapping[str, Shape]) -> None:
        layout = operator.layout(shapes)
        self.operator = operator
        self.pages = tuple(map(_pages, layout.rings))
        self._logged: Ints = np.zeros(0, np.int64)
        self._late = 0
        super().__init__(layout, {pages.ring.role: pages.count * pages.slots for pages in self.pages})

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows; new ones hold the initial state."""
        super().reserve(rows)
        more = self._capacity - len(self._logged) if self.pages else 0
        self._logged = np.concatenate([self._logged, np.zeros(more, np.int64)])

    def clear(self, rows: Ints) -> None:
        """Back to the initial state."""
        super().clear(rows)
        if self.pages:
            self._logged[rows] = 0

    def scatter(self, rows: Ints, state: State, batch: Batch) -> None:
        """Put folded fields back, append the inputs of the batch to the rings, and count the events that were late."""
        if "late" in self.fields:
            self._late += int(state["late"].sum() - self.fields["late"][rows].sum())
        super().scatter(rows, state, batch)

    def take_late(self) -> int:
        """How many events came too late for the operator, by its field ``late``, since the last call."""
        number, self._late = self._late, 0
        return number

    def changed_pages(self, rows: Ints) -> Iterator[tuple[int, Ints, Ints, bytes]]:
        """The pages that hold inputs folded since the last call, which counts them as logged.

        For each ring: its number, and the rows, the page numbers and the joined bytes of those pages.
        """
        if not self.rings:
            return
        count = self.fields["count"][rows]
        fresh = count - self._logged[rows]
        self._logged[rows] = count
        for number, pages in enumerate(self.pages):
            new = np.minimum(fresh, pages.ring.length)
            place = np.repeat(np.arange(len(rows)), new)
            nth = np.arange(len(place)) - np.repeat(np.cumsum(new) - new, new)
            slot = (count[place] - 1 - nth) % pages.ring.length
            touched = np.unique(place * pages.count + slot // pages.slots)
            at, page = rows[touched // pages.count], touched % pages.count
            yield number, at, page, pages.of(self.rings[pages.ring.role])[at, page].tobytes()

    def logged_pages(self, rows: Ints) -> list[Ints]:
        """For each ring, how many of its pages the changelog has of these rows: it has them from the first one on."""
        return [-(-np.minimum(self._logged[rows], pages.ring.length) // pages.slots) for pages in self.pages]

    def restore_pages(self, ring: int, rows: Ints, page: Ints, raw: bytes) -> None:
        """Put back pages as :meth:`changed_pages` gave them."""
        pages = self.pages[ring]
        content = np.frombuffer(raw).reshape((len(rows), pages.slots, *pages.ring.shape))
        pages.of(self.rings[pages.ring.role])[rows, page] = content

    def restored(self, rows: Ints) -> None:
        """All of these rows are as the log has them."""
        if self.rings:
            self._logged[rows] = self.fields["count"][rows]
