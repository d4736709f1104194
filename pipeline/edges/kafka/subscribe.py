"""Follows an output topic as any subscriber would: committed records only, those of a partition in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as Partition
from kafka.errors import KafkaError, KafkaTimeoutError

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
            yield from self._poll()

    def to_end(self, deadline: float) -> Iterator[tuple[list[Update], int, int]]:
        """Up to where the topic ends now: updates, how many records were read with them, and of how many.

        Raises:
            TimeoutError: past the deadline, of the monotonic clock.
            Unreachable: the broker refuses.
        """
        partitions = self._consumer.assignment()
        try:
            ends = self._consumer.end_offsets(partitions, timeout_ms=_left(deadline))
            starts = self._consumer.beginning_offsets(partitions, timeout_ms=_left(deadline))
            total = sum(ends[tp] - starts[tp] for tp in partitions)
            read = 0
            while read < total:
                if not (left := _left(deadline)):
                    raise TimeoutError(f"{read:,} of {total:,} records were read")
                updates = list(self._poll())
                # What is passed over, markers of transactions and aborted records, is in the positions only.
                positions = {tp: self._consumer.position(tp, timeout_ms=left) or starts[tp] for tp in partitions}
                read = sum(min(positions[tp], ends[tp]) - starts[tp] for tp in partitions)
                yield updates, read, total
        except KafkaTimeoutError as error:
            raise TimeoutError("the broker did not answer") from error
        except KafkaError as error:
            raise Unreachable(f"cannot read on: {error}", "see that the broker is up") from error

    def _poll(self) -> Iterator[Update]:
        for records in self._consumer.poll(timeout_ms=_WAIT_MS).values():
            for record in records:
                yield Update(record.key or b"", record.value, record.partition, record.offset)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def _left(deadline: float) -> int:
    """Milliseconds."""
    return max(0, int(1000 * (deadline - time.monotonic())))
