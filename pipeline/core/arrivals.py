"""The rows of a table in the order of their keys' last events: who is next to go."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.core.batch import Ints

_SLICE = 1024


class Arrivals:
    """A queue of rows, each with the offset of an event; an entry holds while that event is its row's last.

    ``last[row]`` are the offsets of the rows' last events. An event costs one entry at most, however many rows there
    are; entries that do not hold any more are thrown away when they are the greater part.
    """

    def __init__(self) -> None:
        self._rows: Ints = np.zeros(_SLICE, np.int64)
        self._offsets: Ints = np.zeros(_SLICE, np.int64)
        self._head = self._size = 0

    def __len__(self) -> int:
        return self._size - self._head

    def append(self, rows: Ints, last: Ints) -> None:
        """These rows, each given once, had events after all that there are in the queue."""
        offsets = last[rows]
        order = np.argsort(offsets)
        end = self._size + len(rows)
        if end > len(self._rows):
            self._make_room(len(rows), last)
            end = self._size + len(rows)
        self._rows[self._size : end] = rows[order]
        self._offsets[self._size : end] = offsets[order]
        self._size = end

    def oldest(self, last: Ints) -> Iterator[tuple[int, int]]:
        """Rows and the offsets of their last events, oldest first."""
        at = self._head
        while at < self._size:
            end = min(at + _SLICE, self._size)
            rows, offsets = self._rows[at:end], self._offsets[at:end]
            holds = last[rows] == offsets
            if at == self._head and not holds.any():
                self._head = end
            yield from zip(rows[holds].tolist(), offsets[holds].tolist(), strict=True)
            at = end

    def _make_room(self, more: int, last: Ints) -> None:
        """Keep what holds, and make space for twice as much."""
        entries = slice(self._head, self._size)
        rows, offsets = self._rows[entries], self._offsets[entries]
        holds = last[rows] == offsets
        rows, offsets = rows[holds], offsets[holds]
        space = max(_SLICE, 2 * (len(rows) + more))
        self._rows, self._offsets = np.empty(space, np.int64), np.empty(space, np.int64)
        self._rows[: len(rows)], self._offsets[: len(rows)] = rows, offsets
        self._head, self._size = 0, len(rows)

    @property
    def nbytes(self) -> int:
        """Bytes that the queue takes."""
        return self._rows.nbytes + self._offsets.nbytes
