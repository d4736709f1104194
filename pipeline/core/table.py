"""One table in one source partition: events go in, changelog records and outputs come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from pipeline.core.batch import Deletes, Events, Floats, Headers, Ints, Reject
from pipeline.core.changelog import Changelog, Meta
from pipeline.core.config.model import App, Table
from pipeline.core.encode import Encoder, key_texts, undefined
from pipeline.core.partitioning import Sightings
from pipeline.core.readout import Result, numbers
from pipeline.core.state import Folded, TableState
from pipeline.errors import RunError

_SIZE_SAMPLE = 16


@dataclass(frozen=True)
class Append:
    """Records for one partition of one topic, in order; ``headers`` are all records' or none's."""

    topic: str
    partition: int
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers] = field(default_factory=list)


@dataclass
class Counts:
    """What happened since the last cut, for the metrics; ``stamps`` are some of the events' timestamps (ms)."""

    events: int = 0
    outputs: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    filtered: int = 0
    forgotten_ids: Counter[str] = field(default_factory=Counter)
    late: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    undefined: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead_letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    changelog_bytes: Counter[str] = field(default_factory=Counter)
    stamps: list[int] = field(default_factory=list)


class TablePartition:
    """One table in one source partition: its state, its changelog, its outputs not yet committed."""

    def __init__(self, app: App, table: Table, partition: int) -> None:
        self.table = table
        self.partition = partition
        self.state = TableState(table)
        self.changelog = Changelog(self.state)
        self.sightings = Sightings(self.state.index)
        self.changelog_topic = app.changelog(table)
        self.output_topic = app.output(table)
        self.fingerprint = app.fingerprint(table)
        self._encoder = Encoder(table.name, _published(table), table.origin.key_parts)
        self._keys: list[bytes | None] = []
        self._values: list[bytes | None] = []

    def fold(self, events: Events, deletes: Deletes, counts: Counts) -> tuple[list[Reject], int]:
        """Fold events and drop keys; keep the outputs they make. Returns the refused ones and the outputs' bytes.

        Raises:
            RunError: there are more keys than the table may have.
        """
        folded = self.state.fold(events, deletes)
        counts.skipped[self.table.name] += folded.skipped
        counts.duplicates[self.table.name] += folded.duplicates
        for drop in folded.drops:
            counts.dropped[self.table.name, drop.reason] += 1
        if folded.overfull is not None:
            raise self._full(folded.overfull)
        if self.table.emit != "every":
            return folded.rejects, 0
        keys, values = self._outputs(events, folded, counts)
        self._keys += keys
        self._values += values
        return folded.rejects, size_of(keys) + size_of(values)

    def _outputs(
        self, events: Events, folded: Folded, counts: Counts
    ) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
        """Keys and values of each event's record and of a null for each drop, in their order."""
        keys, values = self._keys_of(events, folded), list[bytes]()
        if keys:
            times, offsets = events.times[folded.index], events.offsets[folded.index]
            values = self._encode(keys, times, offsets, folded.results, counts)
        if not folded.drops:
            return keys, values
        # Of two at one place the drop comes first.
        places = np.concatenate([[drop.place for drop in folded.drops], events.index[folded.index]])
        order = np.argsort(places, kind="stable").tolist()
        all_keys = [*(drop.key for drop in folded.drops), *keys]
        all_values = [*repeat(None, len(folded.drops)), *values]
        return [all_keys[i] for i in order], [all_values[i] for i in order]

    def cut(self, meta: Meta, counts: Counts) -> list[Append]:
        """Records of everything that changed since the last cut."""
        state = self.state
        rows, gone = state.take_changed(), state.take_gone()
        if self.table.emit == "commit":
            self._keys += [key for key in gone if state.find(key) is None]
            self._values += [None] * len(self._keys)
            if len(rows):
                changed = self._keys_at(rows)
                times, offsets = state.times[rows], state.offsets[rows]
                self._keys += changed
                self._values += self._encode(changed, times, offsets, state.latest(rows), counts)
        gone_keys, nulls = self.changelog.tombstones(gone)
        keys, values = self.changelog.changes(rows)
        ids, pages = self.changelog.ids()
        key, value = self.changelog.meta_record(meta)
        log = Append(
            self.changelog_topic, self.partition, [*gone_keys, *keys, *ids, key], [*nulls, *values, *pages, value]
        )
        for name, memory in state.memories.items():
            counts.late[self.table.name, name] += memory.take_late()
        if state.seen is not None:
            counts.forgotten_ids[self.table.name] += state.seen.take_forgotten()
        outputs = self._take_outputs()
        counts.changelog_bytes[self.table.name] += size_of(log.keys) + size_of(log.values)
        counts.outputs[self.table.name] += sum(len(output.values) for output in outputs)
        return [log, *outputs]

    def _take_outputs(self) -> list[Append]:
        output = Append(self.output_topic, self.partition, self._keys, self._values)
        self._keys, self._values = [], []
        return [output]

    def records(self, rows: Ints) -> list[bytes]:
        """The latest output records of some rows; operators are not asked for those of none."""
        return self._records(rows, self.state.latest(rows)) if len(rows) else []

    def entries(self, rows: Ints) -> Iterator[tuple[bytes, dict[str, Mapping[str, object]]]]:
        """The latest output record of each of these rows, and the memory itself of each operator."""
        latest, memories = self.state.entries(rows)
        shown = (dict(zip(memories, memory, strict=True)) for memory in zip(*memories.values(), strict=True))
        return zip(self._records(rows, latest), shown, strict=True)

    def _records(self, rows: Ints, latest: Mapping[str, Result]) -> list[bytes]:
        state, keys = self.state, key_texts(self._keys_at(rows))
        return self._encoder.encode(keys, state.times[rows], self.partition, state.offsets[rows], latest)

    def listed(self) -> dict[tuple[str, str], float]:
        """By key and name, the numbers that the table's listed keys show now; see :func:`readout.numbers`."""
        rows = {key: row for key in self.table.metrics_keys if (row := self.state.find(key.encode())) is not None}
        return {
            (key, name): value
            for key, row in rows.items()
            for operator, readout in self.state.readouts(np.array([row])).items()
            for name, value in numbers(operator, readout)
        }

    def _full(self, offset: int) -> RunError:
        table = self.table
        return RunError(
            f"table {table.name} is full: it has {table.max_keys} keys in partition {self.partition} of "
            f"{table.stream.topic}, and the event at offset {offset} brings another",
            'raise max_keys, or let older keys go: set a ttl, or on_full = "evict"',
        )

    def _keys_at(self, rows: Ints) -> list[bytes]:
        return list(map(self.state.index.keys.__getitem__, rows.tolist()))

    def _keys_of(self, events: Events, folded: Folded) -> list[bytes]:
        if len(folded.index) == len(events):
            return events.keys
        return list(map(events.keys.__getitem__, folded.index.tolist()))

    def _encode(
        self, keys: list[bytes], times: Floats, offsets: Ints, results: Mapping[str, Result], counts: Counts
    ) -> list[bytes]:
        for name, result in results.items():
            if isinstance(result, (np.ndarray, dict)) and (number := undefined(result)):
                counts.undefined[self.table.name, name] += number
        return self._encoder.encode(key_texts(keys), times, self.partition, offsets, results)


def size_of(items: Sequence[bytes | None]) -> int:
    """About how many bytes these are: every sixteenth is looked at, for there is one of them an event."""
    return _SIZE_SAMPLE * sum(len(item or b"") for item in items[::_SIZE_SAMPLE])


def _published(table: Table) -> list[str]:
    """The operators' fields in the output record, in the order of the table."""
    return [
        field
        for name, operator in table.operators.items()
        for field, published in ((name, operator.publish != "state"), (f"{name}.state", operator.publish != "readout"))
        if published
    ]
