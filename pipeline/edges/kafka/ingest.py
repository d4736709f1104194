"""Sends records to a stream's topic, as any producer would: idempotent, acknowledged by all replicas."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.closing import close_producer
from pipeline.edges.kafka.errors import Unreachable
from pipeline.errors import KafkaStateError

_UNACKNOWLEDGED = 20_000
"""Records on their way at once: kafka-python itself would take any number of them into memory."""

_CLOSE_SECONDS = 1.0
_PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable_idempotence": True,
    "allow_auto_create_topics": False,
    "linger_ms": 5,
    "batch_size": 128 * 1024,
    "reconnect_backoff_max_ms": 1_000,
}


class Ingest:
    """A producer for one topic, which has to exist; each record goes to the partition of its key, or to any.

    ``sent`` counts the records that were acknowledged. A record waits up to ``timeout`` seconds for that.
    """

    def __init__(self, settings: ClientSettings, topic: str, timeout: float) -> None:
        self.sent = 0
        self._topic = topic
        self._pending: deque[Any] = deque()
        milliseconds = int(timeout * 1000)
        patience = {
            "delivery_timeout_ms": milliseconds,
            "request_timeout_ms": min(10_000, milliseconds // 2),
            "max_block_ms": milliseconds,
        }
        try:
            self._producer = KafkaProducer(**settings.for_kafka_python(), **_PRODUCER, **patience)
        except KafkaError as error:
            raise Unreachable(f"no producer for {settings.bootstrap_servers}: {error}", "see that it is up") from error

    def send(self, key: bytes | None, value: bytes) -> None:
        """Send a record, without waiting for it to arrive.

        Raises:
            ValueError: the record is larger than any that can be sent.
            KafkaStateError: an earlier record did not arrive.
        """
        try:
            self._pending.append(self._producer.send(self._topic, key=key, value=value))
        except MessageSizeTooLargeError:
            raise ValueError(f"too large to be sent: {len(value)} bytes") from None
        except KafkaError as error:
            raise self._lost(error) from error
        if len(self._pending) > _UNACKNOWLEDGED:
            self.flush()
        else:
            self._settle()

    def flush(self) -> None:
        """Wait until every record has arrived. Raises KafkaStateError if one has not."""
        try:
            self._producer.flush()
        except KafkaError as error:
            raise self._lost(error) from error
        self._settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_producer(self._producer, _CLOSE_SECONDS)

    def _settle(self) -> None:
        """Count what has arrived."""
        failure: BaseException | None = None
        while self._pending and self._pending[0].is_done:
            record = self._pending.popleft()
            if record.succeeded():
                self.sent += 1
            else:
                failure = failure or record.exception
        if failure is not None:
            raise self._lost(failure)

    def _lost(self, error: BaseException) -> KafkaStateError:
        return KafkaStateError(
            f"an event did not arrive in {self._topic}, after {self.sent:,} that did: {error}",
            "see that the broker is up, and that the topic takes such records",
        )
