"""From a wire batch to events: columns of numbers, keys and times, and a reject for each bad event."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.batch import Deletes, Events, Headers, Ints, Reject, WireBatch
from pipeline.core.choose import Chooser
from pipeline.core.formats.binary import BinaryFormat
from pipeline.core.formats.document import DocumentFormat
from pipeline.core.formats.forwarded import ForwardedFormat
from pipeline.core.formats.parsed import UNITS, Format, Parsed, pick, places_without

if TYPE_CHECKING:
    from pipeline.core.config.model import Stream

MAX_KEY_BYTES = 4096


class Decoder:
    """Reads the records of one stream.

    ``scalars`` and ``vectors`` (with their lengths) are the fields and selected names that any of the stream's tables
    reads, and ``ids`` the fields by which any knows duplicates; others are ignored, but for those that are chosen by.
    A key longer than ``max_key_bytes`` makes a bad event; an empty one is a key like any other.
    """

    def __init__(
        self,
        stream: Stream,
        scalars: Collection[str],
        vectors: Mapping[str, int],
        *,
        ids: Collection[str] = (),
        max_key_bytes: int = MAX_KEY_BYTES,
    ) -> None:
        self._max_key_bytes = max_key_bytes
        self._compare_keys = stream.key is not None and not stream.partitioned_by_key
        self._keyless = stream.keyless
        chooses = stream.choice or stream.key_parts or stream.table_keys
        self._chooser = Chooser(stream, scalars, ids) if chooses else None
        self._format = _format(stream, scalars, vectors, ids, self._chooser)

    def decode(self, batch: WireBatch) -> tuple[Events, list[Reject]]:
        """The good events in order, and one reject for each of the others, in order too.

        Events that the stream's ``where`` drops are in neither.
        """
        parsed = self._format.parse(batch.values)
        if self._chooser is not None:
            parsed = self._chooser.choose(parsed)
        index, flaws = parsed.index, parsed.flaws
        own: list[bytes | None] = [b""] * len(batch) if self._keyless else batch.keys
        keys = pick(own, index) if parsed.keys is None else parsed.keys
        for row, reason in self._key_flaws(keys).items():
            flaws.setdefault(row, Reject(int(index[row]), "key", reason))
        times = parsed.times
        if times is None:
            times = np.fromiter(batch.timestamps, np.float64, len(batch))[index] / UNITS["ms"]
        events = Events(
            index,
            keys,  # type: ignore[arg-type] # those that are None are flaws
            _offsets(batch, index),
            times,
            parsed.columns,
            parsed.ids,
            parsed.table_keys,
        )
        parsed.rejects += self._too_long(parsed)
        if flaws:
            events = without(events, flaws)
        return events, sorted([*parsed.rejects, *flaws.values()], key=lambda reject: reject.index)

    def deletes(self, batch: WireBatch, rejects: list[Reject]) -> tuple[Deletes, list[Reject]]:
        """Those of a batch's rejects that have no value but a key to delete, the record's own, and the others."""
        places = [reject.index for reject in rejects if batch.values[reject.index] is None]
        flaws = {
            places[row]: Reject(places[row], "key", reason)
            for row, reason in self._key_flaws([batch.keys[place] for place in places]).items()
        }
        places = [place for place in places if place not in flaws]
        deleted = set(places)
        others = [flaws.get(reject.index, reject) for reject in rejects if reject.index not in deleted]
        return Deletes(places, [batch.keys[place] or b"" for place in places]), others

    def origin(self, value: bytes | None) -> Headers:
        """Headers that say in which topic, partition and offset an event was first, if this one was sent on."""
        return self._format.origin(value) if isinstance(self._format, ForwardedFormat) else []

    def key_evidence(self, batch: WireBatch, events: Events) -> int | None:
        """Where in the batch the first event is whose record key is null or isn't the field's bytes.

        Such an event is evidence that a topic of several partitions is not partitioned by the field. None if there is
        no such event, if the key is the record's own, or if the stream says ``partitioned_by_key``.
        """
        if not self._compare_keys:
            return None
        record_keys = pick(batch.keys, events.index)
        if record_keys == events.keys:
            return None
        pairs = zip(record_keys, events.keys, strict=True)
        row = next(row for row, (record_key, key) in enumerate(pairs) if record_key != key)
        return int(events.index[row])

    def _too_long(self, parsed: Parsed) -> list[Reject]:
        """The events whose key for one table is too long; they have none for it then."""
        rejects = []
        for table, keys in parsed.table_keys.items():
            for row, reason in self._key_flaws([key or b"" for key in keys]).items():
                keys[row] = None
                if row not in parsed.flaws:
                    rejects.append(Reject(int(parsed.index[row]), "key", reason, table))
        return rejects

    def _key_flaws(self, keys: Sequence[bytes | None]) -> dict[int, str]:
        limit = self._max_key_bytes
        try:
            if max(map(len, keys), default=0) <= limit:  # type: ignore[arg-type]
                return {}
        except TypeError:
            pass
        reasons = {row: "no key" for row, key in enumerate(keys) if key is None}
        too_long = f"key too long: more than {limit} bytes"
        return reasons | {row: too_long for row, key in enumerate(keys) if key is not None and len(key) > limit}


def _format(
    stream: Stream, scalars: Collection[str], vectors: Mapping[str, int], ids: Collection[str], chooser: Chooser | None
) -> Format:
    if stream.internal:
        return ForwardedFormat([origin.topic for origin in stream.origins], scalars, vectors, ids)
    units, time = UNITS[stream.time_unit], stream.time
    numbers = scalars if chooser is None else chooser.numbers
    match stream.format:
        case "json" | "msgpack" as codec:
            key, besides = (stream.key, None) if chooser is None else (None, chooser.besides)
            assert not isinstance(key, tuple)
            return DocumentFormat(
                codec, key=key, time=time, units=units, scalars=numbers, vectors=vectors, ids=ids, besides=besides
            )
        case "float64" | "float32" as dtype:
            wanted = {*numbers, *vectors}
            return BinaryFormat(dtype, stream.fields, time=time, units=units, wanted=wanted, vectors=stream.vectors)


def _offsets(batch: WireBatch, index: Ints) -> Ints:
    """The offsets of the records at these places; in a log without holes they need not be looked at one by one."""
    if len(index) and batch.offsets[-1] - batch.offsets[0] == len(batch) - 1:
        return batch.offsets[0] + index
    return np.fromiter(batch.offsets, np.int64, len(batch))[index]


def without(events: Events, rows: Collection[int]) -> Events:
    """The events but those at these places among them."""
    kept = places_without(len(events), rows)
    return Events(
        events.index[kept],
        pick(events.keys, kept),
        events.offsets[kept],
        events.times[kept],
        {field: column[kept] for field, column in events.columns.items()},
        {field: pick(ids, kept) for field, ids in events.ids.items()},
        {table: pick(keys, kept) for table, keys in events.table_keys.items()},
    )
