"""Evidence that a topic is not partitioned by the field that is its key: one key in two partitions.

Each partition would keep a state of its own for such a key, both of them wrong. That can be seen only where one worker
holds both partitions; there it costs a look-up for each new key.
"""

from __future__ import annotations

from collections.abc import Iterable

from operators.state.keys import KeyIndex


class Sightings:
    """The keys of one partition, compared with those of its siblings as they turn up."""

    def __init__(self, index: KeyIndex[bytes]) -> None:
        self._index = index
        self._compared = 0

    def shared_with(self, siblings: Iterable[KeyIndex[bytes]]) -> bytes | None:
        """A key, new since the last call, that one of the siblings has too; after a restore all keys are new."""
        new = self._index.newest(self._index.born - self._compared)
        self._compared = self._index.born
        return next((key for sibling in siblings for key in new if sibling.get(key) is not None), None)
