"""Pipelines inside the test's own process: planes on a real broker, and what a second client sees of them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any, ClassVar

from aiokafka import TopicPartition
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as Partition

from operators import Count, Mean
from operators.operator import Operator
from pipeline import App, Stream, Table
from pipeline.core.changelog import META
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.edges.metrics import Metrics
from pipeline.errors import StreamfoldError
from tests.kafka.clients import hung_up

PATIENCE = 60.0
"""Seconds after which what was waited for does not come any more."""

OPERATORS: Mapping[str, Operator] = {"games": Count(), "average": Mean(value="x")}


class Site:
    """One app with one stream (and one table, unless told otherwise) on a broker; closed when its test ends."""

    _open: ClassVar[list[Site]] = []

    def __init__(self, kafka: str, name: str, partitions: int = 1, **stream: Any) -> None:
        self.kafka = kafka
        self.name = name
        self.source = f"{name}-events"
        self.partitions = partitions
        self.stream = Stream("events", topic=self.source, **stream)
        self.admin = Admin(ClientSettings(kafka))
        self._open.append(self)
        self.admin.create([TopicSpec.source(self.source, partitions)])

    def app(self, tables: Sequence[Table] | None = None, **options: Any) -> App:
        """The app; ``options`` are its own."""
        defaults = {"brokers": self.kafka, "session_timeout": "6s", "start_timeout": "10s", "commit_interval": "20ms"}
        return App(self.name, tables=tables or [self.table()], **(defaults | options))

    def table(self, name: str = "table", **options: Any) -> Table:
        return Table(name, stream=self.stream, **({"operators": OPERATORS} | options))

    def tp(self, partition: int = 0) -> TopicPartition:
        return TopicPartition(self.source, partition)

    def send(self, count: int, key: str | bytes | None = "k", partition: int = 0, **fields: object) -> None:
        """Send events ``{"x": 0.0}``, ``{"x": 1.0}``, ... of one key to one partition."""
        self.send_raw([json.dumps({"x": float(n), **fields}).encode() for n in range(count)], key, partition)

    def send_raw(
        self,
        values: Sequence[bytes],
        key: str | bytes | None = "k",
        partition: int = 0,
        timestamp_ms: int | None = None,
    ) -> None:
        raw = key.encode() if isinstance(key, str) else key
        with closing(KafkaProducer(bootstrap_servers=self.kafka, max_request_size=10_000_000)) as producer:
            sent = [
                producer.send(self.source, value, raw, partition=partition, timestamp_ms=timestamp_ms)
                for value in values
            ]
            producer.flush()
            for future in sent:
                future.get()

    def committed(self, partition: int = 0) -> int | None:
        return self._all_committed().get(self.tp(partition))

    def end(self, partition: int = 0) -> int:
        return self.admin.bounds(self.tp(partition)).end

    def lag(self) -> int:
        """How many offsets of the source are not committed yet."""
        committed = self._all_committed()
        return sum(self.end(p) - committed.get(self.tp(p), 0) for p in range(self.partitions))

    def _all_committed(self) -> dict[TopicPartition, int]:
        """A broker that has only just started has no coordinator for a while."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.admin.committed(self.name)
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def records(self, topic: str) -> Iterator[Any]:
        """The committed records of a topic, as a second client reads them."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.kafka,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        parts = [Partition(topic, p) for p in range(self.admin.describe([topic])[topic].partitions)]
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        deadline = time.monotonic() + PATIENCE
        try:
            while any(consumer.position(part) < ends[part] for part in parts):
                assert time.monotonic() < deadline, f"{topic} can't be read to its end"
                for records in consumer.poll(timeout_ms=200).values():
                    yield from records
        finally:
            consumer.close()

    def outputs(self, table: str = "table") -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records(f"{self.name}-{table}")]

    def metas(self, table: str = "table") -> dict[int, dict[str, Any]]:
        """The last meta record of each partition of a changelog."""
        records = self.records(f"{self.name}-{table}-changelog")
        return {record.partition: json.loads(record.value) for record in records if record.key == META}

    @classmethod
    def close_all(cls) -> None:
        while cls._open:
            cls._open.pop().admin.close()


@asynccontextmanager
async def running(app: App, plane_type: type[Plane] = Plane) -> AsyncIterator[Plane]:
    """A worker's plane, started; stopped as a worker stops."""
    plane = plane_type(app, Metrics())
    try:
        await plane.start()
        yield plane
    finally:
        await plane.stop()


async def refusal(app: App, plane_type: type[Plane] = Plane) -> StreamfoldError:
    """What a worker of this app ends with; it leaves no client behind."""
    before = _clients()
    try:
        async with asyncio.timeout(PATIENCE), running(app, plane_type) as plane:
            await plane.run()
    except StreamfoldError as error:
        await until(lambda: _clients() <= before, "its clients have ended")
        await hung_up()
        return error
    raise AssertionError("the worker ended by itself")


def _clients() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("kafka-io")}


async def ended(plane: Plane, seconds: float = PATIENCE) -> StreamfoldError:
    """What a running worker ends with, within a bound."""
    try:
        async with asyncio.timeout(seconds):
            await plane.run()
    except StreamfoldError as error:
        return error
    raise AssertionError("the worker ended by itself")


async def until(condition: Callable[[], bool], what: str, plane: Plane | None = None) -> None:
    """Wait for a condition that may ask the broker; a worker that ends meanwhile fails the test."""
    crash = asyncio.ensure_future(plane.run()) if plane is not None else None
    deadline = time.monotonic() + PATIENCE
    try:
        while not await asyncio.to_thread(condition):
            if crash is not None and crash.done():
                crash.result()
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
            await asyncio.sleep(0.05)
    finally:
        if crash is not None:
            crash.cancel()


async def drained(site: Site, *planes: Plane) -> None:
    """Wait until everything that the source holds is committed."""
    await until(lambda: site.lag() == 0, "the lag is gone", planes[0] if planes else None)


async def folded(site: Site, count: int) -> None:
    """A run of the app that folds this many events and ends."""
    site.send(count)
    async with running(site.app()) as plane:
        await drained(site, plane)


def games(site: Site) -> list[int]:
    """The counts of all results that are committed."""
    return [output["games"] for output in site.outputs()]


def scenario(work: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario to its end."""

    async def bounded() -> None:
        async with asyncio.timeout(4 * PATIENCE):
            await work()
        await hung_up()

    asyncio.run(bounded())


def renamed(app: App, name: str) -> App:
    """The same app under another name."""
    return replace(app, name=name)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """A metric's value; 0 if it has none yet."""
    value = metrics.registry.get_sample_value(f"streamfold_{name}", labels)
    return 0.0 if value is None else value
