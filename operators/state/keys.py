"""The row of each key: one dict look-up an event."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from operators.columns.grouping import Ints

K = TypeVar("K", bound=Hashable)


class _Rows(dict[K, int]):
    """Gives a key that is looked up for the first time the next row, inside dict's own look-up.

    So a batch with new keys takes one pass like any other, and almost every batch of a skewed stream has some.
    """

    def __init__(self, order: list[K]) -> None:
        super().__init__()
        self._order = order

    def __missing__(self, key: K) -> int:
        row = self[key] = len(self._order)
        self._order.append(key)
        return row


class KeyIndex(Generic[K]):
    """Keys in the order they were first seen; the place in that order is the row of the key's state."""

    def __init__(self) -> None:
        self.keys: list[K] = []
        self._rows = _Rows(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, key: K) -> int | None:
        """The key's row, or None if it was never seen."""
        return self._rows.get(key)

    def rows(self, keys: Sequence[K]) -> Ints:
        """The row of each key, ``(N,)``; keys not seen before get the next free rows."""
        return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys))

    def cut_back(self, size: int) -> None:
        """Forget all but the first ``size`` keys."""
        for key in self.keys[size:]:
            del self._rows[key]
        del self.keys[size:]
