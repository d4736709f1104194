"""The second client: reads the source and all that comes out of it, committed only, while everything else fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tests.faults.arena import PARTITIONS, TABLES, Arena
from tests.faults.ledger import Ledger

RECORDS_A_POLL = 5_000
PATIENCE_SECONDS = 60


class Reader:
    """Fills a ledger from a thread of its own, from the first record of every topic on. Close it."""

    def __init__(self, arena: Arena) -> None:
        self.ledger = Ledger()
        self._streams = {f"{arena.source}-{stream}": stream for stream in PARTITIONS}
        self._tables = {f"{arena.name}-{table}": table for table in TABLES}
        self._letters = f"{arena.name}-dead-letters"
        self._brokers = arena.brokers
        self._positions: dict[TopicPartition, int] = {}
        self._seconds: set[int] = set()
        self._ended = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="reader")
        self._thread.start()

    def ends(self) -> dict[TopicPartition, int]:
        """Where each topic ends now; a broker that has only just come back is asked again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                consumer = KafkaConsumer(bootstrap_servers=self._brokers, isolation_level="read_committed")
                try:
                    ends: Mapping[TopicPartition, int] = consumer.end_offsets(self._partitions(consumer))
                    return dict(ends)
                finally:
                    consumer.close()
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def source_ends(self) -> dict[tuple[str, int], int]:
        """Where each source partition ends now, as `Ledger.reached` counts."""
        return {
            (self._streams[tp.topic], tp.partition): end for tp, end in self.ends().items() if tp.topic in self._streams
        }

    def has_read(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether it is that far."""
        self.check()
        return all(self._positions.get(tp, 0) >= end for tp, end in ends.items())

    def longest_silence(self) -> int:
        """For how many seconds nothing was committed, by the timestamps of the results."""
        seconds = sorted(self._seconds)
        return max((later - earlier for earlier, later in pairwise(seconds)), default=0)

    def check(self) -> None:
        """Raise what it died of."""
        if self._trouble is not None:
            raise self._trouble

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()
        self.check()

    def _partitions(self, consumer: Any) -> list[TopicPartition]:
        topics = [*self._streams, *self._tables, self._letters]
        return [TopicPartition(topic, p) for topic in topics for p in consumer.partitions_for_topic(topic) or ()]

    def _run(self) -> None:
        # An offset that is not there any more must not be passed over in silence: "none" raises.
        consumer = KafkaConsumer(
            bootstrap_servers=self._brokers, isolation_level="read_committed", enable_auto_commit=False,
            auto_offset_reset="none",
        )  # fmt: skip
        try:
            self._read(consumer)
        except BaseException as error:
            self._trouble = error
        finally:
            consumer.close()

    def _read(self, consumer: Any) -> None:
        topics = {*self._streams, *self._tables, self._letters}
        parts: list[TopicPartition] = []
        while {tp.topic for tp in parts} != topics:
            if self._ended.wait(0.2):
                return
            parts = self._partitions(consumer)
        consumer.assign(parts)
        for tp in parts:
            consumer.seek(tp, 0)
        while not self._ended.is_set():
            for tp, records in consumer.poll(timeout_ms=200, max_records=RECORDS_A_POLL).items():
                for record in records:
                    self._note(tp, record)
            with suppress(KafkaError):  # it may have to ask for the position, and the broker may be away
                self._positions.update({tp: consumer.position(tp, timeout_ms=1_000) for tp in parts})

    def _note(self, tp: TopicPartition, record: Any) -> None:
        if (stream := self._streams.get(tp.topic)) is not None:
            self.ledger.event(stream, tp.partition, record.offset, (record.key, record.value))
            return
        self._seconds.add(record.timestamp // 1000)
        if (table := self._tables.get(tp.topic)) is not None:
            self.ledger.output(table, record.value)
        else:
            said = dict(record.headers)
            place = (said["stream"].decode(), int(said["partition"]), int(said["offset"]))
            table = said["table"].decode() if "table" in said else None
            self.ledger.letter(place, table, (record.key, record.value))
