"""What one task folds: a source partition's events into all tables of its topic, ready to be committed together.

No network here: wire batches go in, a :class:`Cut` comes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat

import numpy as np

from pipeline.core.batch import NO_DELETES, Deletes, Events, Floats, Headers, Ints, Reject, WireBatch
from pipeline.core.changelog import FORMAT, Changelog, Meta
from pipeline.core.config.model import App, Stream, Table
from pipeline.core.dead_letter import dead_letter
from pipeline.core.decode import Decoder
from pipeline.core.encode import Encoder, key_text, key_texts, undefined
from pipeline.core.formats.parsed import NULL_VALUE
from pipeline.core.partitioning import Sightings
from pipeline.core.readout import Result
from pipeline.core.replay import Replays
from pipeline.core.state import Folded, TableState
from pipeline.errors import KafkaStateError, RunError

_LATENCY_SAMPLES = 100
_SIZE_SAMPLE = 16


class GapError(Exception):
    """A batch does not start where the last one ended: events would be lost or folded twice."""


@dataclass(frozen=True)
class Identity:
    """What the meta records say besides the offset: who writes them, and of which topics they speak."""

    transactional_id: str
    source_id: str
    changelog_ids: Mapping[str, str]
    dead_letter_partition: int
    dead_letter_limit: int


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
    forgotten_ids: Counter[str] = field(default_factory=Counter)
    late: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    undefined: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead_letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    changelog_bytes: Counter[str] = field(default_factory=Counter)
    stamps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Cut:
    """All that one transaction carries, as copies: folding goes on while it is written."""

    next_offset: int
    appends: list[Append]
    counts: Counts
    nbytes: int


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
        self._encoder = Encoder(table.name, _published(table))
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
        return folded.rejects, _size_of(keys) + _size_of(values)

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
        out = Append(self.output_topic, self.partition, self._keys, self._values)
        self._keys, self._values = [], []
        counts.changelog_bytes[self.table.name] += _size_of(log.keys) + _size_of(log.values)
        counts.outputs[self.table.name] += len(out.values)
        return [log, out]

    def record(self, row: int) -> bytes:
        """The latest output record of a row."""
        rows = np.array([row])
        state = self.state
        keys = self._keys_at(rows)
        return self._encode(keys, state.times[rows], state.offsets[rows], state.latest(rows), Counts())[0]

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


def _size_of(items: Sequence[bytes | None]) -> int:
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


class Partition:
    """A source partition with all the tables of its topic.

    ``position`` is the offset of the next event to fold; ``committed`` where the last cut that is known to have gone
    through ended.
    """

    def __init__(self, app: App, stream: Stream, partition: int, source_partitions: int) -> None:
        self.app = app
        self.stream = stream
        self.partition = partition
        self.tables = {table.name: TablePartition(app, table, partition) for table in app.tables_of(stream)}
        shapes = app.fields_read(stream)
        self._decoder = Decoder(
            stream,
            [field for field, shape in shapes.items() if not shape],
            {field: shape[0] for field, shape in shapes.items() if shape},
            ids=app.ids_read(stream),
        )
        self.identity: Identity | None = None
        self.position = 0
        self.waiting_bytes = 0
        self._split = source_partitions > 1
        self._letters = Append(app.dead_letters, 0, [], [])
        self._counts = Counts()
        self._cut_position = 0

    def resume(self, position: int, identity: Identity) -> None:
        """Begin at this offset with the state as it is now."""
        self.identity = identity
        self.position = self._cut_position = position
        self._letters = self._no_letters(identity)

    def fold(self, batch: WireBatch, siblings: Sequence[Partition] = ()) -> None:
        """Fold a batch into every table; ``siblings`` are the topic's other partitions in this worker.

        After an error other than GapError the state may be half folded: nothing may be committed from it.

        Raises:
            GapError: it does not start at ``position``.
            KafkaStateError: the topic is not partitioned by the field that is the key.
            RunError: a bad event, and a table says ``on_error = "stop"``; or a table has too many keys.
        """
        if batch.start != self.position:
            raise GapError(f"{batch.topic}-{batch.partition}: at {self.position}, was given {batch.start}")
        events, rejects = self._decoder.decode(batch)
        if self._split:
            self._check_partitioning(batch, events)
        deletes, rejects = self._deletes(batch, rejects)
        replays = Replays(batch, self.identity.changelog_ids if self.identity else {})
        for name, table in self.tables.items():
            nulls = deletes if table.table.on_null == "delete" else NO_DELETES
            mine = (replays.events_of(name, events), replays.deletes_of(name, nulls)) if replays else (events, nulls)
            refused, nbytes = table.fold(*mine, self._counts)
            rejects += refused
            self.waiting_bytes += nbytes
        self.check_siblings(siblings)
        if rejects:
            self._reject(batch, replays.rejects_of(rejects), replays)
        self.position = batch.next
        self._counts.events += len(batch)
        self._counts.stamps += batch.timestamps[:: max(1, len(batch) // _LATENCY_SAMPLES)]

    def _deletes(self, batch: WireBatch, rejects: list[Reject]) -> tuple[Deletes, list[Reject]]:
        """The records with null values, if any table takes them, and what is refused all the same."""
        keeping = [name for name, table in self.tables.items() if table.table.on_null != "delete"]
        if not rejects or len(keeping) == len(self.tables):
            return NO_DELETES, rejects
        deletes, refused = self._decoder.deletes(batch, rejects)
        nulls = [Reject(place, "decode", NULL_VALUE, name) for place in deletes.places for name in keeping]
        return deletes, refused + nulls

    def cut(self) -> Cut:
        """Step 1 of a commit: a consistent copy of all that changed since the last cut."""
        assert self.identity is not None
        appends: list[Append] = []
        for table in self.tables.values():
            meta = Meta(
                format=FORMAT,
                fingerprint=table.fingerprint,
                transactional_id=self.identity.transactional_id,
                source_id=self.identity.source_id,
                changelog_id=self.identity.changelog_ids[table.table.name],
                next_offset=self.position,
                keys=table.state.live,
                passed=table.state.lifetimes.passed,
            )
            appends += table.cut(meta, self._counts)
        appends.append(self._letters)
        nbytes = self.waiting_bytes + self._counts.changelog_bytes.total()
        cut = Cut(self.position, [append for append in appends if append.values], self._counts, nbytes)
        self._letters = self._no_letters(self.identity)
        self._counts = Counts()
        self.waiting_bytes = 0
        self._cut_position = self.position
        return cut

    @cached_property
    def has_foreign_operators(self) -> bool:
        """Whether code that is not ours folds here: nobody knows how long it takes."""
        operators = (operator for table in self.tables.values() for operator in table.table.operators.values())
        return any(not type(operator).__module__.startswith("operators.") for operator in operators)

    @property
    def moved(self) -> bool:
        """Whether the position moved since the last cut."""
        return self.position != self._cut_position

    @property
    def changed(self) -> bool:
        """Whether there is more to commit than a position."""
        return bool(self._counts.events)

    def _no_letters(self, identity: Identity) -> Append:
        return Append(self.app.dead_letters, identity.dead_letter_partition, [], [])

    def _reject(self, batch: WireBatch, rejects: list[Reject], replays: Replays) -> None:
        assert self.identity is not None
        for reject in sorted(rejects, key=lambda reject: reject.index):
            self._stop_if_told(batch, reject)
            letter = dead_letter(
                reject,
                batch,
                self.stream.name,
                limit=self.identity.dead_letter_limit,
                states=self.identity.changelog_ids,
                replays=replays.count(reject.index),
            )
            self._letters.keys.append(letter.key)
            self._letters.values.append(letter.value)
            self._letters.headers.append(letter.headers)
            self._counts.dead_letters[reject.stage, reject.reason.split(":")[0]] += 1
            self.waiting_bytes += len(letter.key or b"") + len(letter.value or b"")

    def _stop_if_told(self, batch: WireBatch, reject: Reject) -> None:
        names = self.tables if reject.table is None else [reject.table]
        stopping = [name for name in names if self.tables[name].table.on_error == "stop"]
        if stopping:
            place = f"{batch.topic}-{batch.partition} at offset {batch.offsets[reject.index]}"
            raise RunError(
                f"bad event in {place} ({reject.stage}: {reject.reason}), and table {', '.join(stopping)} says "
                'on_error = "stop"',
                "correct what refuses it and start again, nothing of it was folded; or let it pass: run with "
                f'on_error = "dead-letter" until it is in {self.app.dead_letters}, to be replayed from there',
            )

    def _check_partitioning(self, batch: WireBatch, events: Events) -> None:
        offender = self._decoder.key_evidence(batch, events)
        if offender is not None:
            raise KafkaStateError(
                f"topic {batch.topic} is not partitioned by the field {self.stream.key!r}: the record key at "
                f"{batch.topic}-{batch.partition} offset {batch.offsets[offender]} is another, or none",
                f"have producers send {self.stream.key!r} as the record key, or say `partitioned_by_key = true` on "
                f"stream {self.stream.name} if equal values are always in one partition",
            )

    def check_siblings(self, siblings: Sequence[Partition]) -> None:
        """See that no key that is new here, as all are after a restore, is in another partition too.

        Raises:
            KafkaStateError: the topic is not partitioned by the field that is the key.
        """
        if not siblings or self.stream.key is None:
            return
        for name, table in self.tables.items():
            key = table.sightings.shared_with(sibling.tables[name].state.index for sibling in siblings)
            if key is not None:
                raise KafkaStateError(
                    f"topic {self.stream.topic} is not partitioned by the field {self.stream.key!r}: the key "
                    f"{key_text(key)!r} is in partition {self.partition} and in another one",
                    f"have producers send {self.stream.key!r} as the record key, all with the same partitioner; then "
                    "`streamfold reset FILE` on a topic that is partitioned so",
                )
