"""The row of each key: one dict look-up an event."""

from __future__ import annotations

import numpy as np

from pipeline.core.batch import Ints


class KeyIndex:
    """Keys in the order they were first seen; the place in that order is the row of the key's state."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._rows: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, key: bytes) -> int | None:
        """The key's row, or None if it was never seen."""
        return self._rows.get(key)

    def rows(self, keys: list[bytes]) -> Ints:
        """The row of each key, ``(N,)``; keys not seen before get the next free rows."""
        try:
            return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys))
        except KeyError:
            known = self._rows
            for key in keys:
                if key not in known:
                    known[key] = len(self.keys)
                    self.keys.append(key)
            return np.fromiter(map(known.__getitem__, keys), np.int64, len(keys))
