"""Events on their way to the partition of their key: numbers as they are in memory, one row a record.

=======  ===========================================================================================
bytes    what
=======  ===========================================================================================
1        the format's number
8        event time in Unix seconds
8, 8, 8  which of the table's streams the event is of, its partition and its offset there
8 w      the fields that the table reads, each a number or the numbers of a vector; NaN for none
rest     nothing, or 1 and the event's id
=======  ===========================================================================================

All numbers are little-endian doubles. The fields are those of the table, numbers first, each kind by name: one that
reads others has another fingerprint, and what was on its way to it is deleted with its state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.core.batch import Events, Floats, Headers, Ints, Reject
from pipeline.core.formats.parsed import NULL_VALUE, Parsed, places_without

if TYPE_CHECKING:
    from pipeline.core.config.model import Table

_FORMAT = 1
_ID = b"\x01"
_HEAD = 4
_MOST = 2.0**53
"""Up to this a double is one whole number and no other."""
_FOREIGN = "not written by this app"


class ForwardedFormat:
    """Writes the events of a table's topics as records, and reads them again.

    ``scalars`` and ``vectors`` (with their lengths) are the fields, ``ids`` at most one.
    """

    def __init__(
        self, topics: Sequence[str], scalars: Collection[str], vectors: Mapping[str, int], ids: Collection[str] = ()
    ) -> None:
        self._topics = topics
        self._places: dict[str, int | slice] = {}
        width = _HEAD
        for field in sorted(scalars):
            self._places[field] = width
            width += 1
        for field in sorted(vectors):
            self._places[field] = slice(width, width + vectors[field])
            width += vectors[field]
        self._dtype = np.dtype([("format", "u1"), ("numbers", "<f8", (width,))])
        self._width = width
        self._id: str | None = next(iter(ids), None)

    @classmethod
    def of(cls, table: Table) -> ForwardedFormat:
        """For the events that a table is folded from, or that a hop sends on to it."""
        scalars = [field for field, shape in table.inputs.items() if not shape]
        vectors = {field: shape[0] for field, shape in table.inputs.items() if shape}
        topics = [stream.topic for stream in table.stream.origins]
        return cls(topics, scalars, vectors, [] if table.dedupe is None else [table.dedupe.field])

    @property
    def size(self) -> int:
        """Bytes of a record without its id."""
        return self._dtype.itemsize

    def write(self, events: Events, stream: int, partition: int, order: Ints) -> list[bytes]:
        """A record for each event of this partition of the stream of this number, in the order of these rows."""
        rows = np.empty(len(events), self._dtype)
        rows["format"] = _FORMAT
        numbers = rows["numbers"]
        numbers[:, 0], numbers[:, 1] = events.times, stream
        numbers[:, 2], numbers[:, 3] = partition, events.offsets
        for field, place in self._places.items():
            numbers[:, place] = events.columns[field]
        raw, size = rows.take(order).tobytes(), self.size
        records = [raw[at : at + size] for at in range(0, len(raw), size)]
        if self._id is None:
            return records
        ids = events.ids[self._id]
        named = zip(records, map(ids.__getitem__, order.tolist()), strict=True)
        return [record if name is None else record + _ID + name for record, name in named]

    def parse(self, values: list[bytes | None]) -> Parsed:
        """The values as columns, NaN where a field was absent; never raises because of what a value holds."""
        size = self.size
        rejects = [
            Reject(place, "decode", NULL_VALUE if value is None else _FOREIGN)
            for place, value in enumerate(values)
            if value is None or not self._is_ours(value)
        ]
        index = places_without(len(values), [reject.index for reject in rejects])
        read = [value for value in map(values.__getitem__, index.tolist()) if value is not None] if rejects else values
        heads: list[bytes] = [value[:size] for value in read]  # type: ignore[index] # nulls are not among them
        numbers = np.frombuffer(b"".join(heads), self._dtype)["numbers"]
        columns = {field: np.ascontiguousarray(numbers[:, place]) for field, place in self._places.items()}
        times: Floats = np.ascontiguousarray(numbers[:, 0])
        parsed = Parsed(index, None, times, columns, rejects)
        if self._id is not None:
            parsed.ids[self._id] = [value[size + 1 :] if len(value) > size else None for value in read]  # type: ignore[arg-type,index]
        for row in np.flatnonzero(~self._is_sound(numbers[:, :_HEAD])).tolist():
            parsed.flaws[row] = Reject(int(index[row]), "decode", _FOREIGN)
        return parsed

    def origin(self, value: bytes | None) -> Headers:
        """Where an event came from, for its dead letter; nothing of a record that is none."""
        if value is None or self.parse([value]).flaws or not self._is_ours(value):
            return []
        _, stream, partition, offset = np.frombuffer(value[: self.size], self._dtype)["numbers"][0, :_HEAD].tolist()
        return [
            ("origin_topic", self._topics[int(stream)].encode()),
            ("origin_partition", b"%d" % int(partition)),
            ("origin_offset", b"%d" % int(offset)),
        ]

    def _is_sound(self, heads: Floats) -> npt.NDArray[np.bool_]:
        """Whether a hop can have written these (N, 4)."""
        whole = heads[:, 1:]
        placed = (whole >= 0) & (whole <= _MOST) & (whole == np.floor(whole))
        sound: npt.NDArray[np.bool_] = np.isfinite(heads[:, 0]) & placed.all(axis=1) & (heads[:, 1] < len(self._topics))
        return sound

    def _is_ours(self, value: bytes) -> bool:
        return len(value) >= self.size and value[0] == _FORMAT
