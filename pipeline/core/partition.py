"""What one task folds: a source partition's events into all tables of its topic, ready to be committed together.

No network here: wire batches go in, a :class:`Cut` comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.core.batch import NO_DELETES, Deletes, Events, Reject, WireBatch
from pipeline.core.changelog import FORMAT, Meta
from pipeline.core.config.model import App, Stream
from pipeline.core.config.repartition import Hop
from pipeline.core.dead_letter import dead_letter
from pipeline.core.decode import Decoder
from pipeline.core.encode import key_text
from pipeline.core.formats.parsed import NULL_VALUE
from pipeline.core.hop import hop_partition
from pipeline.core.replay import Replays
from pipeline.core.table import Append, Counts, TablePartition
from pipeline.errors import KafkaStateError, RunError

_LATENCY_SAMPLES = 20
"""Of one batch, at most: a worker folds some hundred a second, and a sample costs more than to fold an event."""
_NONE: Mapping[str, int] = {}


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
class Cut:
    """All that one transaction carries, as copies: folding goes on while it is written."""

    next_offset: int
    appends: list[Append]
    counts: Counts
    nbytes: int


class Partition:
    """A source partition with all the tables of its topic.

    ``position`` is the offset of the next event to fold. ``targets`` are the numbers of partitions of the topics that
    hops send events on to.
    """

    def __init__(
        self, app: App, stream: Stream, partition: int, source_partitions: int, targets: Mapping[str, int] = _NONE
    ) -> None:
        self.app = app
        self.stream = stream
        self.partition = partition
        self.tables: dict[str, TablePartition] = {
            table.name: hop_partition(app, table, partition, targets[app.output(table)])
            if isinstance(table, Hop)
            else TablePartition(app, table, partition)
            for table in app.tables_of(stream)
        }
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
        self._counts.filtered += len(batch) - len(events) - sum(reject.table is None for reject in rejects)
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
        self._counts.stamps += batch.timestamps[:: max(1, -(-len(batch) // _LATENCY_SAMPLES))]

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

    def listed(self) -> dict[tuple[str, str, str], float]:
        """By table, key and name, the numbers that the keys listed for the metrics show now."""
        return {(name, *at): value for name, table in self.tables.items() for at, value in table.listed().items()}

    @cached_property
    def has_foreign_operators(self) -> bool:
        """Whether code that is not ours folds here: nobody knows how long it takes."""
        operators = (operator for table in self.tables.values() for operator in table.table.origin.operators.values())
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
                origin=self._decoder.origin(batch.values[reject.index]),
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
                f"topic {batch.topic} is not partitioned by {self.stream.key_told}: the record key at "
                f"{batch.topic}-{batch.partition} offset {batch.offsets[offender]} is another, or none",
                f"say `repartition = true` on stream {self.stream.name} and `streamfold reset FILE`; or have producers "
                f"send {self.stream.key_told} as the record key, or say `partitioned_by_key = true` if equal values "
                "are always in one partition",
            )

    def check_siblings(self, siblings: Sequence[Partition]) -> None:
        """See that no key that is new here, as all are after a restore, is in another partition too.

        Raises:
            KafkaStateError: the topic is not partitioned by the field that is the key.
        """
        if not siblings or not self.stream.key_fields:
            return
        for name, table in self.tables.items():
            key = table.sightings.shared_with(sibling.tables[name].state.index for sibling in siblings)
            if key is not None:
                raise KafkaStateError(
                    f"topic {self.stream.topic} is not partitioned by {self.stream.key_told}: the key "
                    f"{key_text(key)!r} is in partition {self.partition} and in another one",
                    f"say `repartition = true` on stream {self.stream.name}, or have producers send "
                    f"{self.stream.key_told} as the record key, all with one partitioner; then `streamfold reset FILE`",
                )
