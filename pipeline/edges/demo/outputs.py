"""What subscribers see: the output topics, read by a second client that only sees what is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from pipeline.core.config.model import App
from pipeline.edges.demo.exact import Event


class Outputs:
    """A reader of all of an app's outputs from their beginning, with kafka-python under ``read_committed``."""

    def __init__(self, app: App, kafka: Mapping[str, Any], partitions: Mapping[str, int]) -> None:
        self._consumer = KafkaConsumer(
            **kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=5_000,
        )
        self._tables = {app.output(table): table.name for table in app.tables.values()}
        self._consumer.assign(
            [
                TopicPartition(app.output(table), partition)
                for table in app.tables.values()
                for partition in range(partitions[table.stream.topic])
            ]
        )
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode

    def poll(self, seconds: float) -> Iterator[tuple[str, Event]]:
        """The next records as (table, output record), those of a partition in order; waits so long for the first."""
        for tp, records in self._consumer.poll(timeout_ms=int(seconds * 1000)).items():
            table = self._tables[tp.topic]
            for record in records:
                yield table, self._decode(record.value)

    def rest(self, deadline: float) -> Iterator[tuple[str, Event]]:
        """Everything up to where the topics end now. Raises TimeoutError past the deadline, of the monotonic clock."""
        ends = self._consumer.end_offsets(self._consumer.assignment())
        while any(self._consumer.position(tp) < end for tp, end in ends.items()):
            if time.monotonic() > deadline:
                raise TimeoutError
            yield from self.poll(0.2)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
