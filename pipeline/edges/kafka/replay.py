"""Sends dead letters back to their source topics, each once however often it is asked for.

What is sent and the note that it was are one transaction. The note is the group ``<app>-replay``: the offset of the
first letter that was not replayed and, as text beside it, which ones after it were, for a filter may leave some out.
A second run fences the first, and only then reads its note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as Partition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from pipeline.core.config.model import App
from pipeline.core.stretches import Stretches
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.closing import close_producer
from pipeline.edges.kafka.letter import Filter, Letter
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.errors import KafkaStateError

_WAIT_MS = 500
_BATCH_LETTERS = 1_000
_BATCH_BYTES = 4 * 1024 * 1024
_CLOSE_SECONDS = 2.0
_RECORD_BYTES = 4_096  # headers, and what a batch of one record takes
_NOTE_BYTES = 4_096  # offset.metadata.max.bytes of a broker, unless it is told otherwise
_CONSUMER: Mapping[str, Any] = {
    "enable_auto_commit": False,
    "isolation_level": "read_committed",
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "max_poll_records": _BATCH_LETTERS,
}
_PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable_idempotence": True,
    "allow_auto_create_topics": False,
    "linger_ms": 5,
    "batch_size": 128 * 1024,
}
_FENCED = ("ProducerFencedError", "InvalidProducerEpochError")  # kafka-python has them in the text of another error


@dataclass
class Report:
    """What became of the letters: those sent by topic and by stage and reason, the others by why they were not.

    Of those sent, ``repeated`` had been replayed by a run before, and ``failed_again`` had been refused after a replay,
    one of them ``most`` times.
    """

    sent: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    failed_again: int = 0
    most: int = 0

    def add(self, letter: Letter, *, repeated: bool) -> None:
        """This one is sent."""
        self.sent[letter.topic] += 1
        self.reasons[f"{letter.table or 'every table'}, {letter.why}"] += 1
        self.repeated += repeated
        self.failed_again += letter.replays > 0
        self.most = max(self.most, letter.replays)


class Note:
    """Which letters of a partition need no replay any more."""

    def __init__(self, topic_id: str, committed: OffsetAndMetadata | None, first: int) -> None:
        self._topic_id = topic_id
        self._done, self._seen = Stretches(), first
        if committed is not None:
            written_for, _, text = committed.metadata.partition(" ")
            if written_for == topic_id:  # a topic that was made again has other letters at these offsets
                self._done = Stretches.of(committed.offset, text)
        self._done.add(0, first)

    @property
    def position(self) -> int:
        """The first letter that is not done."""
        return self._done.first_missing(0)

    def begin(self, offset: int) -> None:
        """Letters are looked at from here on."""
        self._seen = offset

    def look(self, offset: int) -> bool:
        """The next letter is at this offset; whether it is done. What was passed over is no letter."""
        self._done.add(self._seen, offset)
        self._seen = offset + 1
        return offset in self._done

    def settle(self, offset: int) -> None:
        """This one is done."""
        self._done.add(offset, offset + 1)

    def end(self, offset: int) -> None:
        """There are no more before this offset."""
        self._done.add(self._seen, offset)

    def written(self) -> OffsetAndMetadata:
        """What the group is to remember. Raises KafkaStateError if that is too much."""
        position = self.position
        text = f"{self._topic_id} {self._done.text(position)}"
        if len(text) > _NOTE_BYTES:
            raise KafkaStateError(
                "the letters that are replayed are too scattered among the others to be noted",
                "replay all of them, or choose them by another --reason",
            )
        return OffsetAndMetadata(position, text, -1)


class Replayer:
    """Looks at an app's dead letters, up to where they end now, and sends back those that a filter lets through.

    ``topics`` are the app's. A ``dry`` one sends and notes nothing. With ``since`` (Unix milliseconds) it begins with
    the first letter written then or later, and does not mind what was replayed before.

    Raises:
        KafkaStateError: the broker does not answer, or refuses; or another replay runs.
    """

    def __init__(
        self,
        settings: ClientSettings,
        app: App,
        topics: Mapping[str, TopicInfo],
        wanted: Filter,
        *,
        since: int | None,
        dry: bool,
        timeout: float,
    ) -> None:
        self.report = Report()
        self.committed = 0
        self._app = app
        self._topics = topics
        self._wanted = wanted
        self._again = since is not None
        self._sent = self._bytes = 0
        self._open = False
        self._noted: dict[Partition, OffsetAndMetadata | None] = {}
        self._producer: Any = None
        self._consumer: Any = None
        with self._asking():
            if not dry:
                self._producer = _producer(settings, app, topics, timeout)
                self._producer.init_transactions()
            self._consumer = KafkaConsumer(**settings.for_kafka_python(), **_CONSUMER, group_id=f"{app.name}-replay")
            self._begin(topics[app.dead_letters], since)

    def letters(self) -> Iterator[tuple[Partition, Any]]:
        """The letters, each with its partition, to be taken one after the other."""
        while any(self._consumer.position(part) < end for part, end in self._ends.items()):
            with self._asking():
                polled = self._consumer.poll(timeout_ms=_WAIT_MS)
            for part, records in polled.items():
                yield from ((part, record) for record in records if record.offset < self._ends[part])
        for part, end in self._ends.items():
            self._notes[part].end(end)

    def take(self, part: Partition, record: Any) -> None:
        """Send a letter back, if it is to be."""
        note, letter = self._notes[part], Letter.of(record)
        done = note.look(record.offset)
        left, settled = letter.trouble(self._app, self._topics)
        if done and not self._again:
            return
        if not left and not self._wanted.lets_through(letter, self._app):
            left = "are not those that were asked for"
        if left:
            self.report.left[left] += 1
        else:
            self._send(letter)
            self.report.add(letter, repeated=done)
        if settled or not left:
            note.settle(record.offset)
        if self._sent >= _BATCH_LETTERS or self._bytes >= _BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Send and note what was taken, in one transaction."""
        notes = {part: note.written() for part, note in self._notes.items()}
        changed = {part: note for part, note in notes.items() if note != self._noted.get(part)}
        if self._producer is not None and (changed or self._sent):
            with self._asking():
                self._begin_transaction()
                self._producer.send_offsets_to_transaction(changed, f"{self._app.name}-replay")
                self._producer.commit_transaction()
        self._noted = notes
        self.committed += self._sent
        self._sent, self._bytes, self._open = 0, 0, False

    def close(self) -> None:
        """Leave the broker; what was taken since the last commit is not sent."""
        if self._producer is not None:
            if self._open:
                with suppress(KafkaError):  # the fence of the next replay ends it too
                    self._producer.abort_transaction()
            close_producer(self._producer, _CLOSE_SECONDS)
        if self._consumer is not None:
            self._consumer.close(autocommit=False)

    def _begin(self, letters: TopicInfo, since: int | None) -> None:
        consumer, parts = self._consumer, [Partition(letters.name, n) for n in range(letters.partitions)]
        consumer.assign(parts)
        first, self._ends = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
        self._noted = noted = {part: consumer.committed(part, metadata=True) for part in parts}
        self._notes: dict[Partition, Note] = {part: Note(letters.topic_id, noted[part], first[part]) for part in parts}
        starts = {part: note.position for part, note in self._notes.items()}
        if since is not None:
            found = consumer.offsets_for_times(dict.fromkeys(parts, since))
            starts = {part: self._ends[part] if found[part] is None else found[part].offset for part in parts}
        self.total = sum(max(0, self._ends[part] - start) for part, start in starts.items())
        for part, start in starts.items():
            self._notes[part].begin(start)
            consumer.seek(part, start)

    def _send(self, letter: Letter) -> None:
        self._sent += 1
        self._bytes += len(letter.key or b"") + len(letter.value or b"")
        if self._producer is None:
            return
        with self._asking():
            self._begin_transaction()
            self._producer.send(
                letter.topic,
                letter.value,
                letter.key,
                headers=list(letter.source_headers(letter.states(self._app, self._topics))),
                partition=letter.partition,
                timestamp_ms=letter.timestamp,
            )

    def _begin_transaction(self) -> None:
        if not self._open:
            self._producer.begin_transaction()
            self._open = True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            if any(name in repr(error) for name in _FENCED):
                raise KafkaStateError(
                    f"another replay of {self._app.name} took over, after {self.committed:,} that were replayed here",
                    "let that one end; letters are sent once all the same",
                ) from error
            raise KafkaStateError(
                f"the replay failed after {self.committed:,} letters: {error}",
                "see that the broker is up and takes such records; then go on with the same command",
            ) from error


def _producer(settings: ClientSettings, app: App, topics: Mapping[str, TopicInfo], timeout: float) -> Any:
    milliseconds = int(timeout * 1000)
    producer = KafkaProducer(
        **settings.for_kafka_python(),
        **_PRODUCER,
        transactional_id=f"streamfold/{app.name}/replay",
        max_request_size=_RECORD_BYTES + max(info.max_message_bytes for info in topics.values()),
        max_block_ms=milliseconds,
        delivery_timeout_ms=milliseconds,
        request_timeout_ms=min(10_000, milliseconds // 2),
    )
    # kafka-python takes an epoch that is over for one that was lost, asks for another, and hides the fence meanwhile.
    producer._transaction_manager._supports_epoch_bump = lambda: False
    return producer
