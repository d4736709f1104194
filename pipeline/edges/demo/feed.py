"""Sends readings and scores at a steady rate, and keeps what it sent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event as Flag
from threading import Thread
from typing import Any

import msgspec
from kafka import KafkaProducer

from pipeline.core.config.model import Stream
from pipeline.edges.demo.exact import Event
from pipeline.edges.demo.games import Games
from pipeline.edges.demo.readings import replay
from pipeline.edges.kafka.closing import close_producer

READINGS_A_SECOND = 120
_TICK_SECONDS = 0.02


@dataclass
class Source:
    """One stream's endless events: how many a second, and those that were sent, as (key, event, Unix time)."""

    stream: Stream
    events: Iterator[dict[str, Any]]
    rate: float
    sent: list[tuple[str, Event, float]] = field(default_factory=list)
    count: int = 0


class Feed:
    """A producer in a thread of its own: ``scores`` a second; ``keep`` says whether to remember every event."""

    def __init__(
        self, streams: Mapping[str, Stream], kafka: Mapping[str, Any], *, seed: int, scores: float, keep: bool
    ) -> None:
        games = Games(seed)
        self.sources = {
            "scores": Source(streams["scores"], games.events(), scores),
            "readings": Source(streams["readings"], replay(), READINGS_A_SECOND),
        }
        self.failure: Exception | None = None
        self._keep = keep
        self._producer = KafkaProducer(**kafka, acks="all", enable_idempotence=True, linger_ms=5)
        self._stopped = Flag()
        self._encode = msgspec.json.Encoder().encode
        self._thread = Thread(target=self._run, name="feed", daemon=True)

    @property
    def count(self) -> int:
        """Events sent so far."""
        return sum(source.count for source in self.sources.values())

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; what was sent has arrived when this returns, or ``failure`` says why it has not."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            while not self._stopped.wait(_TICK_SECONDS):
                due = time.monotonic() - began
                for source in self.sources.values():
                    while source.count < due * source.rate:
                        self._send(source)
            self._producer.flush(timeout=30)
        except Exception as error:  # reported by whoever watches the feed
            self.failure = error
        finally:
            close_producer(self._producer, 1.0)

    def _send(self, source: Source) -> None:
        event = next(source.events)
        stream = source.stream
        if stream.time is not None:
            event.setdefault(stream.time, round(time.time(), 3))
        (field,) = stream.key_fields
        key = event[field]
        self._producer.send(stream.topic, key=key.encode(), value=self._encode(event))
        source.count += 1
        if self._keep:
            source.sent.append((key, event, event_time(stream, event)))


def event_time(stream: Stream, event: Event) -> float:
    """The event's own time in Unix seconds."""
    assert stream.time is not None
    value = event[stream.time]
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else float(value)
