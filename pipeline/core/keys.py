"""The row of each key: one dict look-up an event."""

from __future__ import annotations

import numpy as np

from pipeline.core.batch import Ints


class _Rows(dict[bytes, int]):
    """Gives a key that is looked up for the first time the next row, inside dict's own look-up.

    So a batch with new keys takes one pass like any other, and almost every batch of a skewed stream has some.
    """

    def __init__(self, order: list[bytes]) -> None:
        super().__init__()
        self._order = order

    def __missing__(self, key: bytes) -> int:
        row = self[key] = len(self._order)
        self._order.append(key)
        return row


class KeyIndex:
    """Keys in the order they were first seen; the place in that order is the row of the key's state."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._rows = _Rows(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, key: bytes) -> int | None:
        """The key's row, or None if it was never seen."""
        return self._rows.get(key)

    def rows(self, keys: list[bytes]) -> Ints:
        """The row of each key, ``(N,)``; keys not seen before get the next free rows."""
        return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys))
