"""The runs of a block in segments side by side, for matrix products over all of them at once."""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Block, Floats, Ints

_LONGEST = 64
"""Events that meet each other; those of earlier segments they meet in the memory."""

_NEAR = 8
"""Events that meet each other one by one."""


class Segments:
    """The events of a block, laid out by group, and within it by segments that can be halved until they are short.

    Where no event is there is the one after the last of the batch.
    """

    def __init__(self, block: Block, total: int, heads: int) -> None:
        self._heads = heads
        longest = len(block.events)
        segments = -(-longest // _LONGEST)
        length = _halvable(-(-longest // segments))
        rank = np.arange(segments * length)
        events = np.where(rank > block.last[:, None], total, block.events[0][:, None] + rank)
        self._events: Ints = events.reshape(-1, segments, length)

    def lay_out(self, rows: Floats) -> Floats:
        """Rows (N + 1, h, d) as (g, H, segments, size, d): a copy."""
        laid = rows.take(self._events, axis=0).transpose(0, 3, 1, 2, 4)
        return laid.repeat(self._heads, axis=1) if self._heads > laid.shape[1] else np.ascontiguousarray(laid)

    def put(self, laid: Floats, out: Floats) -> None:
        """Store results that are laid out with the sorted events they belong to, (N + 1, H, d)."""
        out[self._events] = laid.transpose(0, 2, 3, 1, 4)


def with_last(rows: Floats, last: float) -> Floats:
    """Rows with one of such numbers behind."""
    return np.concatenate([rows, np.full((1, *rows.shape[1:]), last)])


def near(length: int) -> int:
    """The events of so long a segment that meet each other one by one: it is halved until no more are left."""
    return length if length <= _NEAR else near(length // 2)


def cut(rows: Floats, size: int) -> Floats:
    """Rows that are laid out by segments, (g, H, n, s, d), cut into shorter ones: a view."""
    return rows.reshape(*rows.shape[:2], -1, size, rows.shape[-1])


def _halvable(length: int) -> int:
    """The least number from this one on that can be halved so."""
    return length if length <= _NEAR else 2 * _halvable(-(-length // 2))
