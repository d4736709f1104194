"""Fill one worker with keys, restore it, fill it beyond its limit; every step in a worker of its own."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer, TopicPartition

from bench.keys.worker import Watched
from pipeline.edges.bench.load import send_share
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import RunError

PARTITIONS = 4
AGAIN = 5
"""One of so many keys gets another event."""
NEW = 100
"""One new key comes for so many that are there."""
_CHUNK = 100_000
_COUNT_SECONDS = 30.0

CONFIG = """\
[app]
name = "${KEYS_NAME}"
brokers = "${KEYS_BROKERS}"
http = "${KEYS_HTTP}"

[streams.events]
topic = "${KEYS_NAME}-events"
partitions = 4

[tables.keys]
stream = "events"
emit = "commit"
LIMIT
[tables.keys.operators]
average = { type = "mean", value = "x" }
"""


@dataclass(frozen=True)
class Phase:
    """What a worker did: seconds by the clock and of its processor time, bytes at most and when it was done."""

    what: str
    seconds: float
    cpu: float
    peak: int
    after: int


@dataclass
class Results:
    """``refused`` is how a worker ended whose table was full; another ``evicted`` keys, and had ``left`` then."""

    keys: int
    empty: int = 0
    state: int = 0
    phases: list[Phase] = field(default_factory=list)
    refused: str = ""
    brought: int = 0
    left: int = 0
    evicted: int = 0


class Measurement:
    """Measures with so many ``keys``, all in one worker; ``say`` is told what goes on.

    After each phase the worker has ``rest`` seconds to put things away.
    """

    def __init__(self, keys: int, say: Callable[[str], None], rest: float = 3.0) -> None:
        self.results = Results(keys)
        self._rest = rest
        self._say = say
        self._name = f"keys-{uuid.uuid4().hex[:6]}"

    def run(self, broker: str | None = None) -> Results:
        """Measure, on an embedded Kafka if no other is named. Takes some minutes for ten million."""
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamfold-keys-")))
            self._address = broker or stack.enter_context(EmbeddedKafka()).address
            self._admin = stack.enter_context(closing(Admin(ClientSettings(self._address))))
            topics = [self._topic, *(f"{self._name}-{part}" for part in ("keys", "keys-changelog", "dead-letters"))]
            stack.callback(lambda: self._admin.delete(topics))
            self._admin.create([TopicSpec.source(self._topic, PARTITIONS)])
            keys, results = self.results.keys, self.results
            results.brought = keys // NEW
            self._send(range(keys))
            self._fill()
            self._restore()
            self._send(range(keys, keys + 1))
            self._refuse()
            self._send(range(keys + 1, keys + results.brought))
            self._evict()
        return results

    def _fill(self) -> None:
        with self._worker() as watched:
            watched.await_ready()
            self.results.empty = watched.memory
            watched.peak()
            self._phase("the first event of each key", watched)
            self._counted(watched)
            self.results.state = watched.metric("state_bytes")
            watched.worker.stop()

    def _restore(self) -> None:
        with self._worker() as watched:
            self._await_ready("restore", watched)
            self._send(range(0, self.results.keys, AGAIN))
            self._phase(f"another event of every {AGAIN}th key", watched)
            watched.worker.stop()

    def _refuse(self) -> None:
        self._say("one key too many")
        with self._worker("stop") as watched:
            refused = watched.await_end()
        if "exit code 1" not in refused or "is full" not in refused:
            raise RunError(f"one key too many should have ended the worker with exit code 1: {refused}")
        self.results.refused = next(part for part in refused.split(" / ") if "is full" in part)

    def _evict(self) -> None:
        with self._worker("evict") as watched:
            self._await_ready('restore with `max_keys` and `on_full = "evict"`', watched)
            self._phase(f"{self.results.brought:,} new keys, as many evicted", watched)
            self.results.evicted = watched.metric("dropped_keys_total")
            self.results.left = self._counted(watched)
            watched.worker.stop()
        if (self.results.left, self.results.evicted) != (self.results.keys, self.results.brought):
            raise RunError(f"{self.results.evicted:,} keys were evicted, {self.results.left:,} were left")

    def _counted(self, watched: Watched) -> int:
        """How many keys the worker says it has, once it has counted them: it does so now and then."""
        deadline = time.monotonic() + _COUNT_SECONDS
        while (found := watched.metric("keys")) != self.results.keys and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _await_ready(self, what: str, watched: Watched) -> None:
        self._say(what)
        seconds, cpu = watched.await_ready()
        self._note(what, seconds, cpu, watched)

    def _phase(self, what: str, watched: Watched) -> None:
        """Fold and commit all that was sent."""
        self._say(what)
        began, cpu = time.monotonic(), watched.cpu
        watched.await_committed(self._admin, self._name, self._ends())
        self._note(what, time.monotonic() - began, watched.cpu - cpu, watched)

    def _note(self, what: str, seconds: float, cpu: float, watched: Watched) -> None:
        time.sleep(self._rest)
        phase = Phase(what, seconds, cpu, watched.peak(), watched.memory)
        self.results.phases.append(phase)
        self._say(f"{what}: {seconds:.1f} s, {phase.peak / 1e6:,.0f} MB at most, {phase.after / 1e6:,.0f} MB after")

    def _worker(self, on_full: str | None = None) -> Watched:
        limit = f'max_keys = {self.results.keys // PARTITIONS}\non_full = "{on_full}"' if on_full else ""
        config = self._folder / "keys.toml"
        config.write_text(CONFIG.replace("LIMIT", limit), "utf-8")
        return Watched(config, {"KEYS_NAME": self._name, "KEYS_BROKERS": self._address}, self._folder)

    @property
    def _topic(self) -> str:
        return f"{self._name}-events"

    def _ends(self) -> dict[TopicPartition, int]:
        tps = [TopicPartition(self._topic, partition) for partition in range(PARTITIONS)]
        return {tp: bounds.end for tp, bounds in self._admin.all_bounds(tps).items()}

    def _send(self, numbers: range) -> None:
        self._say(f"sending {len(numbers):,} events")
        asyncio.run(_send(ClientSettings(self._address), self._topic, numbers))


async def _send(settings: ClientSettings, topic: str, numbers: range) -> None:
    """One event of each of these keys, which take the partitions by turns."""
    producer = AIOKafkaProducer(**settings.for_aiokafka(), max_batch_size=512 * 1024, acks="all")
    await producer.start()
    try:
        for first in range(0, len(numbers), _CHUNK):
            shares: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
            for number in numbers[first : first + _CHUNK]:
                shares[number % PARTITIONS].append((b"key-%012d" % number, b'{"x":%d.5}' % (number % 1000)))
            for partition, share in _filled(shares):
                await send_share(producer, topic, partition, share)
        await producer.flush()
    finally:
        await producer.stop()


def _filled(shares: list[list[tuple[bytes, bytes]]]) -> Iterable[tuple[int, list[tuple[bytes, bytes]]]]:
    return ((partition, share) for partition, share in enumerate(shares) if share)
