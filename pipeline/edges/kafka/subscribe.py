"""Follows an output topic as any subscriber would: committed records only, those of a partition in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as Partition
from kafka.errors import KafkaError

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Unreachable

_WAIT_MS = 1_000
_CONSUMER: dict[str, Any] = {
    "group_id": None,
    "enable_auto_commit": False,
    "isolation_level": "read_committed",
    # A reader that fell behind what the topic keeps goes on with the oldest that is left.
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "reconnect_backoff_max_ms": 1_000,
}


@dataclass(frozen=True, slots=True)
class Update:
    """A record of an output topic; ``value`` is None where the key was deleted."""

    key: bytes
    value: bytes | None
    partition: int
    offset: int


class Updates:
    """The updates of a topic, from now on or ``from_start``; waits for more until it is closed."""

    def __init__(self, settings: ClientSettings, topic: str, partitions: int, *, from_start: bool) -> None:
        try:
            self._consumer = KafkaConsumer(**settings.for_kafka_python(), **_CONSUMER)
            self._consumer.assign([Partition(topic, partition) for partition in range(partitions)])
            if from_start:
                self._consumer.seek_to_beginning()
            else:
                self._consumer.seek_to_end()
                # Without this, "now" would be the first time that somebody asks for an update.
                for tp in self._consumer.assignment():
                    self._consumer.position(tp)
        except KafkaError as error:
            raise Unreachable(f"cannot read {topic}: {error}", "see that the broker is up") from error

    def __iter__(self) -> Iterator[Update]:
        while True:
            for records in self._consumer.poll(timeout_ms=_WAIT_MS).values():
                for record in records:
                    yield Update(record.key or b"", record.value, record.partition, record.offset)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
