"""What the tests of the Kafka edge share: topics of their own, an independent reader, a loop that tolerates nothing."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from selectors import BaseSelector
from typing import Any

from aiokafka import TopicPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as Partition

from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer, Drained
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.topic_spec import TopicSpec

_LOOKS = 300


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:12]}"


def make_topic(kafka: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
    name = unique("edge")
    admin = Admin(ClientSettings(kafka))
    try:
        admin.create([TopicSpec(name, partitions, 1, configs or {})])
    finally:
        admin.close()
    return name


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario; an exception that nobody retrieved and a task that is left over fail the test."""
    reported: list[Mapping[str, Any]] = []

    async def supervised() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        await scenario()
        gc.collect()  # a future says only when it goes that nobody saw its exception
        for _ in range(3):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        await hung_up()

    asyncio.run(supervised())
    assert not reported, reported


async def hung_up() -> None:
    """Wait for connections that are closing: one under TLS says goodbye first, and a loop that ends cuts it short."""
    selector: BaseSelector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    for _ in range(_LOOKS):
        if len(selector.get_map()) == 1:  # the loop's own pipe
            return
        await asyncio.sleep(0.01)


def read_all(kafka: str, topic: str, count: int, partition: int = 0) -> list[Any]:
    """The first ``count`` committed records of a partition, as the independent client reads them."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        tp = Partition(topic, partition)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        records: list[Any] = []
        for _ in range(100):
            for batch in consumer.poll(timeout_ms=200).values():
                records.extend(batch)
            if len(records) >= count:
                break
        return records
    finally:
        consumer.close()


async def write(
    producer: TransactionalProducer, topic: str, values: Sequence[bytes], partition: int = 0, *, commit: bool = True
) -> None:
    """One transaction, its batches no larger than one append."""
    await producer.begin()
    await producer.append(topic, partition, [b"k"] * len(values), values)
    await producer.acknowledge()
    if commit:
        await producer.commit()


async def reader_at(kafka: str, positions: Mapping[TopicPartition, int], **arguments: Any) -> ColumnarConsumer:
    """A started consumer without a group, at these positions."""
    settings = ClientSettings(kafka)
    consumer = (
        ColumnarConsumer(settings, fetch_max_wait_ms=50, **arguments)
        if arguments
        else ColumnarConsumer.reader(settings)
    )
    await consumer.start()
    consumer.assign(list(positions))
    for tp, offset in positions.items():
        consumer.seek(tp, offset)
    return consumer


@asynccontextmanager
async def shut(consumer: ColumnarConsumer) -> AsyncIterator[ColumnarConsumer]:
    """A consumer that is shut down when the body ends."""
    try:
        yield consumer
    finally:
        await consumer.shutdown()


async def drain_to(consumer: ColumnarConsumer, tp: TopicPartition, end: int, limit: int = 1_000) -> list[Drained]:
    """Drain a partition until its position is ``end``; every batch starts where the one before ended."""
    drained: list[Drained] = []
    position = consumer.fetch_position(tp)
    async with asyncio.timeout(30):
        while position != end:
            for item in await consumer.drain({tp}, limit=limit, timeout=1):
                assert item.batch.start == position
                position = item.batch.next
                drained.append(item)
    return drained


def values_of(drained: Sequence[Drained]) -> list[bytes | None]:
    return [value for item in drained for value in item.batch.values]


def offsets_of(drained: Sequence[Drained]) -> list[int]:
    return [offset for item in drained for offset in item.batch.offsets]
