"""The row of each key: one dict look-up an event."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from operators.columns.grouping import Ints

K = TypeVar("K", bound=Hashable)


class _Rows(dict[K, int]):
    """Gives a key that is looked up for the first time a row, inside dict's own look-up.

    So a batch with new keys takes one pass like any other, and almost every batch of a skewed stream has some.
    ``holders[row]`` is the key that has a row, or had it last; ``free`` are the rows that no key has any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.holders: list[K] = []
        self.free: list[int] = []

    def __missing__(self, key: K) -> int:
        row = self[key] = self.take(key)
        return row

    def take(self, key: K) -> int:
        if not self.free:
            self.holders.append(key)
            return len(self.holders) - 1
        row = self.free.pop()
        self.holders[row] = key
        return row


class KeyIndex(Generic[K]):
    """Keys in the order they were first seen, each with the row of its state.

    Rows are given out from 0 on, those of keys that were dropped before any new one. ``keys[row]`` is the key that has
    a row, or had it last.
    """

    def __init__(self) -> None:
        self._rows = _Rows[K]()
        self._dropped = 0
        self.keys = self._rows.holders
        self.get: Callable[[K], int | None] = self._rows.get
        """The key's row, or None if it has none."""

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    @property
    def span(self) -> int:
        """How many rows were ever given out: the most keys that there were at a time."""
        return len(self.keys)

    @property
    def born(self) -> int:
        """How many keys ever got a row; one that was dropped and came again counts twice."""
        return len(self._rows) + self._dropped

    def rows(self, keys: Sequence[K]) -> Ints:
        """The row of each key, ``(N,)``; keys that have none get one."""
        return np.fromiter(map(self._rows.__getitem__, keys), np.int64, len(keys))

    def newest(self, count: int) -> list[K]:
        """The ``count`` keys that got their rows last, the newest first; all if there are fewer."""
        return list(islice(reversed(self._rows), count))

    def drop(self, keys: Iterable[K]) -> None:
        """Forget these keys, each of which has a row; the rows are free."""
        before = len(self._rows)
        self._rows.free.extend(map(self._rows.pop, keys))
        self._dropped += before - len(self._rows)

    def take(self, key: K) -> int:
        """A row for this key, which :meth:`bind` makes its own, or :meth:`give_back` free again."""
        return self._rows.take(key)

    def bind(self, key: K, row: int) -> None:
        """The key, which has none, gets a row that was taken."""
        self._rows[key] = row

    def give_back(self, rows: Iterable[int]) -> None:
        """Rows that were taken are free."""
        self._rows.free.extend(rows)

    def cut_back(self, size: int) -> None:
        """Forget all but the first ``size`` keys, if none was ever dropped."""
        for key in self.keys[size:]:
            del self._rows[key]
        del self.keys[size:]
