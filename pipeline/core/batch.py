"""What travels between the stages of an event's path: wire batches, events, and the rejects that fall out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Headers = Sequence[tuple[str, bytes | None]]
"""The headers of one record."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WireBatch:
    """The records of one drain of one source partition, as columns; ``timestamps`` in Unix milliseconds.

    ``start`` and ``next`` are the fetch positions before and after: everything in between that is not a record here
    (control markers, aborted transactions, compaction holes) is accounted for. ``headers`` are those of the records
    that have any, by offset; it may hold others too.
    """

    topic: str
    partition: int
    start: int
    next: int
    keys: list[bytes | None]
    values: list[bytes | None]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    headers: Mapping[int, Headers] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True)
class Events:
    """Decoded events as columns, in arrival order. A field's column is ``(N,)`` or, for a vector, ``(N, d)``.

    NaN in a column means that the field was absent or null (a JSON number is never NaN, and one in a binary format is
    rejected), for a vector in all d places. ``index`` is each event's place in the wire batch it came from; ``times``
    are event times in Unix seconds; ``ids`` are the fields that tell events apart, None where one is absent or null.
    ``table_keys`` are the keys for tables that have others, None where an event has none for that table.
    """

    index: Ints
    keys: list[bytes]
    offsets: Ints
    times: Floats
    columns: dict[str, Floats]
    ids: dict[str, list[bytes | None]] = field(default_factory=dict)
    table_keys: dict[str, list[bytes | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Deletes:
    """Records that ask for a key to be dropped, by their places in the wire batch, ascending."""

    places: list[int]
    keys: list[bytes]

    def __len__(self) -> int:
        return len(self.places)

    def split(self, place: int) -> tuple[Deletes, Deletes]:
        """Those before this place, and the others."""
        at = bisect_left(self.places, place)
        return Deletes(self.places[:at], self.keys[:at]), Deletes(self.places[at:], self.keys[at:])


NO_DELETES = Deletes([], [])


@dataclass(frozen=True)
class Reject:
    """A bad event: its place in the wire batch, the stage that refused it, why, and for which table if not for all."""

    index: int
    stage: str
    reason: str
    table: str | None = None
