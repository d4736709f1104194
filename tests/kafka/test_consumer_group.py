"""A consumer as a member of its group: assignments, errors of the coordinator, an end that is bounded."""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, UnknownError

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.errors import RunError
from tests.kafka.clients import (
    drain_to,
    make_topic,
    reader_at,
    run,
    shut,
    unique,
    write,
)


def test_a_batch_names_its_assignment_and_an_old_one_cannot_seek(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, tp.topic, [b"x"])
        await producer.close()
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            old = consumer.current_assignment()
            (drained,) = await drain_to(consumer, tp, 2)
            assert drained.assignment is old
            consumer.assign([tp])
            assert consumer.current_assignment() is not old
            assert not consumer.seek_and_resume(tp, 0, old)
            assert consumer.fetch_position(tp) is None
            assert not consumer.seek_and_resume(TopicPartition(tp.topic, 7), 0, consumer.current_assignment())

    run(scenario)


def test_an_error_of_the_coordinator_is_raised_once_and_the_member_lives_on(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        consumer = ColumnarConsumer(ClientSettings(kafka), group_id=unique("group"))
        await consumer.start()
        consumer.subscribe([tp.topic])
        async with shut(consumer):
            # The coordination loop does this on an answer it does not know, and then waits to be asked.
            waiting = consumer._coordinator._push_error_to_user(UnknownError())
            with pytest.raises(KafkaError):
                await consumer.drain({tp}, limit=10, timeout=0.1)
            await waiting
            async with asyncio.timeout(20):
                while consumer.current_assignment() is None:
                    await consumer.drain(set(), limit=10, timeout=0.1)

    run(scenario)


@pytest.mark.parametrize("task", ["_fetcher._fetch_task", "_coordinator._coordination_task"])
def test_a_consumer_whose_background_work_ended_says_so(kafka: str, task: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        consumer = ColumnarConsumer(ClientSettings(kafka), group_id=unique("group"))
        await consumer.start()
        consumer.subscribe([tp.topic])
        async with shut(consumer):
            attrgetter(task)(consumer).cancel()
            await asyncio.sleep(0.2)
            with pytest.raises(RunError):
                await consumer.drain({tp}, limit=10, timeout=0)

    run(scenario)


def test_shutdown_is_bounded_while_another_member_will_not_let_go(kafka: str) -> None:
    topic = make_topic(kafka, 2)
    group = unique("group")

    async def scenario() -> None:
        release = asyncio.Event()
        clinging = asyncio.Event()

        class Clinging(ConsumerRebalanceListener):  # type: ignore[misc]
            async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
                if revoked:
                    clinging.set()
                    await release.wait()

            async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None: ...

        arguments: dict[str, Any] = {"group_id": group, "rebalance_timeout_ms": 60_000, "heartbeat_interval_ms": 200}
        first = ColumnarConsumer(ClientSettings(kafka), **arguments)
        await first.start()
        first.subscribe([topic], listener=Clinging())
        async with asyncio.timeout(20):
            while first.current_assignment() is None:
                await first.drain(set(), limit=1, timeout=0.1)
        second = ColumnarConsumer(ClientSettings(kafka), **arguments)
        await second.start()
        second.subscribe([topic])
        async with asyncio.timeout(20):
            await clinging.wait()
        async with asyncio.timeout(10):  # the join would be pending for a minute
            await second.shutdown(timeout=0.5)
        release.set()
        await first.shutdown()

    run(scenario)


def test_a_client_that_does_not_close_holds_up_nobody(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        reader = ColumnarConsumer.reader(ClientSettings(kafka))
        await reader.start()
        close, never = reader._client.close, asyncio.Event()
        monkeypatch.setattr(reader._client, "close", never.wait)
        async with asyncio.timeout(30):
            await reader.shutdown(0.1)
        await close()
        await asyncio.sleep(0)

    run(scenario)
