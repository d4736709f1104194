"""The edge against a broker that stops answering, dies, or makes topics by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.producer.transaction_manager import TransactionState

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, InDoubt, TransactionError, Unreachable
from pipeline.edges.kafka.producer import Deadlines, TransactionalProducer
from tests.kafka.clients import drain_to, make_topic, read_all, reader_at, run, unique, values_of, write
from tests.kafka.process import paused

_HASTY = Deadlines(request=0.5, commit=2.0, transaction=30.0, abort=0.5, close=0.5)


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedKafka]:
    """A broker of our own, to be stopped and killed; it makes any topic that a client asks for."""
    with EmbeddedKafka(properties={"auto.create.topics.enable": "true"}) as broker:
        yield broker


async def _open_transaction(
    broker: EmbeddedKafka, owner: str, topic: str, group: str, deadlines: Deadlines = _HASTY
) -> TransactionalProducer:
    """A transaction with a record and an offset, ready to be committed."""
    producer = await TransactionalProducer.fence(ClientSettings(broker.address), owner, deadlines)
    await producer.begin()
    await producer.append(topic, 0, [b"k"], [b"doubtful"])
    await producer.acknowledge()
    await producer.add_offset(TopicPartition(topic, 0), 1, group)
    return producer


def test_a_commit_that_was_asked_for_twice_counts_but_renews_the_producer(own: EmbeddedKafka) -> None:
    topic = make_topic(own.address)

    async def scenario() -> None:
        patient = replace(_HASTY, commit=20.0)
        producer = await _open_transaction(own, unique("owner"), topic, unique("group"), patient)
        with paused(own.pid):
            committing = asyncio.create_task(producer.commit())
            await asyncio.sleep(0.8)
        await committing
        assert producer.must_renew
        with pytest.raises(Failed, match="renewed"):
            await producer.begin()
        await producer.close()
        assert [r.value for r in await asyncio.to_thread(read_all, own.address, topic, 1)] == [b"doubtful"]

    run(scenario)


def test_a_commit_in_doubt_is_settled_by_the_next_fence(own: EmbeddedKafka) -> None:
    topic, owner, group = make_topic(own.address), unique("owner"), unique("group")
    source = TopicPartition(topic, 0)

    async def scenario() -> None:
        admin = Admin(ClientSettings(own.address))
        producer = await _open_transaction(own, owner, topic, group)
        with paused(own.pid):
            began = time.monotonic()
            with pytest.raises(InDoubt):
                await producer.commit()
            assert not await producer.abort()
            await producer.close()
            assert time.monotonic() - began < 2 * _HASTY.commit + 4 * _HASTY.close
        producer = await TransactionalProducer.fence(ClientSettings(own.address), owner)
        committed = (await asyncio.to_thread(admin.committed, group)).get(source)
        await write(producer, topic, [b"after"])
        await producer.close()
        through = [b"doubtful"] if committed == 1 else []
        records = await asyncio.to_thread(read_all, own.address, topic, len(through) + 1)
        assert [r.value for r in records] == [*through, b"after"]
        admin.close()

    run(scenario)


@pytest.mark.parametrize("step", ["begin", "append", "acknowledge", "add_offset"])
def test_no_step_outlasts_its_deadline_and_no_close_its_bound(own: EmbeddedKafka, step: str) -> None:
    topic = make_topic(own.address)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(own.address), unique("owner"), _HASTY)
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "begin": producer.begin,
            "append": lambda: producer.append(topic, 0, [b"k"], [b"lost"]),
            "acknowledge": producer.acknowledge,
            "add_offset": lambda: producer.add_offset(TopicPartition(topic, 0), 1, unique("group")),
        }
        names = list(steps)
        for name in names[: names.index(step)]:
            await steps[name]()

        async def go_on() -> None:
            for name in names[names.index(step) :]:
                await steps[name]()

        with paused(own.pid):
            began = time.monotonic()
            with pytest.raises(Failed):
                await go_on()
            await producer.abort()
            await producer.close()
            assert time.monotonic() - began < 2 * _HASTY.commit + 4 * _HASTY.close

    run(scenario)


def test_a_fence_fails_while_a_broker_that_is_starting_names_no_node(
    own: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaClient, "get_random_node", lambda _: None)
            with pytest.raises(Failed, match="fencing"):
                await TransactionalProducer.fence(ClientSettings(own.address), unique("owner"), _HASTY)
        await (await TransactionalProducer.fence(ClientSettings(own.address), unique("owner"))).close()

    run(scenario)


def test_a_consumer_starts_as_soon_as_a_broker_is_named(own: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = make_topic(own.address)

    async def scenario() -> None:
        member = ColumnarConsumer(ClientSettings(own.address), group_id=unique("group"))
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaClient, "get_random_node", lambda _: None)
            with pytest.raises(KafkaConnectionError, match="names no broker yet"):
                await member.start()
        await member.start()
        member.subscribe([topic])
        async with asyncio.timeout(20):
            while member.current_assignment() is None:
                await member.drain(set(), limit=1, timeout=0.1)
        await member.shutdown()

    run(scenario)


def test_a_transaction_that_fails_between_two_looks_at_it_has_failed(
    own: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic(own.address)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(own.address), unique("owner"), _HASTY)
        await producer.begin()
        transactions, seen = producer._producer.transactions, producer._producer.client._wait_on_metadata

        async def refused(name: str) -> object:
            """The sender hears that a request was refused, just then."""
            if transactions.state is TransactionState.IN_TRANSACTION:
                transactions.error_transaction(TopicAuthorizationFailedError(name))
            return await seen(name)

        monkeypatch.setattr(producer._producer.client, "_wait_on_metadata", refused)
        with pytest.raises(Failed, match="writing to"):
            await producer.append(topic, 0, [b"k"], [b"v"])
        await producer.close()

    run(scenario)


def test_a_fence_against_a_silent_broker_ends_by_its_deadline(own: EmbeddedKafka) -> None:
    async def scenario() -> None:
        with paused(own.pid), pytest.raises(Failed):
            await TransactionalProducer.fence(ClientSettings(own.address), unique("owner"), _HASTY)

    run(scenario)


@pytest.mark.parametrize("reading", [False, True])
def test_a_member_leaves_a_silent_broker_within_its_bound(own: EmbeddedKafka, reading: bool) -> None:
    topic = make_topic(own.address)
    tp = TopicPartition(topic, 0)

    async def scenario() -> None:
        member = ColumnarConsumer(ClientSettings(own.address), group_id=unique("group"))
        await member.start()
        member.subscribe([topic])
        async with asyncio.timeout(20):
            while member.current_assignment() is None:
                await member.drain(set(), limit=1, timeout=0.1)
        if reading:
            assert member.seek_and_resume(tp, 0, member.current_assignment())
            assert await member.drain({tp}, limit=1, timeout=0.3) == []
        with paused(own.pid):
            began = time.monotonic()
            await member.shutdown(timeout=0.5)
            assert time.monotonic() - began < 5

    run(scenario)


def test_an_administrator_says_that_a_silent_broker_is_unreachable(own: EmbeddedKafka) -> None:
    async def scenario() -> None:
        with paused(own.pid), pytest.raises(Unreachable, match=f"no broker at {own.address} within"):
            await asyncio.to_thread(Admin(ClientSettings(own.address), timeout=1).describe, ["any"])

    run(scenario)


def test_no_client_of_ours_makes_a_topic_by_asking_for_it(own: EmbeddedKafka) -> None:
    absent, there = unique("absent"), make_topic(own.address)
    deleted = make_topic(own.address)

    async def scenario() -> None:
        settings = ClientSettings(own.address)
        admin = Admin(settings)
        producer = await TransactionalProducer.fence(settings, unique("owner"), _HASTY)
        await write(producer, there, [b"x"])
        await write(producer, deleted, [b"x"])
        await asyncio.to_thread(admin.delete, [deleted])
        await producer.begin()
        with pytest.raises(TransactionError):
            await producer.append(absent, 0, [b"k"], [b"v"])
        await producer._producer.client.force_metadata_update()
        await producer.close()
        consumer = await reader_at(own.address, {TopicPartition(absent, 0): 0, TopicPartition(deleted, 0): 0})
        assert await consumer.drain({TopicPartition(absent, 0)}, limit=1, timeout=1) == []
        await consumer.shutdown()
        member = ColumnarConsumer(settings, group_id=unique("group"))
        await member.start()
        member.subscribe([absent])
        await member.drain(set(), limit=1, timeout=1)
        await member.shutdown()
        assert set(await asyncio.to_thread(admin.describe, [absent, deleted, there])) == {there}
        admin.close()

    run(scenario)


def test_reading_goes_on_after_the_broker_was_killed_and_started_again(own: EmbeddedKafka) -> None:
    topic = make_topic(own.address)
    tp = TopicPartition(topic, 0)

    async def scenario() -> None:
        settings = ClientSettings(own.address)
        producer = await TransactionalProducer.fence(settings, unique("owner"))
        await write(producer, topic, [b"before"])
        consumer = await reader_at(own.address, {tp: 0})
        assert values_of(await drain_to(consumer, tp, 2)) == [b"before"]
        own.kill()
        await asyncio.to_thread(own.start)
        await write(producer, topic, [b"after"])
        await producer.close()
        assert values_of(await drain_to(consumer, tp, 4)) == [b"after"]
        await consumer.shutdown()

    run(scenario)
