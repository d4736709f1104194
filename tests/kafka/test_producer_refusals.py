"""What becomes of a transaction that is fenced, refused, unreachable or given up."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Failed, Fenced, RecordTooLarge, TransactionError
from pipeline.edges.kafka.producer import Deadlines, TransactionalProducer
from tests.kafka.clients import make_topic, read_all, run, unique, write


def test_a_producer_that_was_fenced_unseen_says_so_at_its_next_step(kafka: str) -> None:
    topic, owner = make_topic(kafka), unique("owner")

    async def scenario() -> None:
        settings = ClientSettings(kafka)
        old = await TransactionalProducer.fence(settings, owner)
        await old.begin()
        new = await TransactionalProducer.fence(settings, owner)
        await old.append(topic, 0, [b"k"], [b"unwanted"])
        await asyncio.wait([old._producer.sender.sender_task], timeout=30)
        with pytest.raises(Fenced):
            await old.append(topic, 0, [b"k"], [b"unwanted"])
        await old.close()
        await write(new, topic, [b"after"])
        await new.close()
        assert [r.value for r in await asyncio.to_thread(read_all, kafka, topic, 1)] == [b"after"]

    run(scenario)


@pytest.mark.parametrize("fenced_before", ["append", "add_offset", "commit", "begin"])
def test_a_producer_is_fenced_by_the_next_owner_at_every_step(kafka: str, fenced_before: str) -> None:
    topic = make_topic(kafka)
    source, group, owner = TopicPartition(topic, 0), unique("group"), unique("owner")

    async def scenario() -> None:
        settings = ClientSettings(kafka)
        old = await TransactionalProducer.fence(settings, owner)
        new: TransactionalProducer | None = None
        await write(old, topic, [b"before"])
        steps = {
            "begin": old.begin,
            "append": lambda: _append_and_acknowledge(old, topic),
            "add_offset": lambda: old.add_offset(source, 1, group),
            "commit": old.commit,
        }

        async def transact() -> None:
            nonlocal new
            for name, step in steps.items():
                if name == fenced_before:
                    new = await TransactionalProducer.fence(settings, owner)
                await step()

        with pytest.raises(Fenced):
            await transact()
        assert old.must_renew
        assert new is not None
        await old.abort()
        await old.close()
        await write(new, topic, [b"after"])
        await new.close()
        assert [r.value for r in await asyncio.to_thread(read_all, kafka, topic, 2)] == [b"before", b"after"]
        admin = Admin(settings)
        assert await asyncio.to_thread(admin.committed, group) == {}
        admin.close()

    run(scenario)


async def _append_and_acknowledge(producer: TransactionalProducer, topic: str) -> None:
    await producer.append(topic, 0, [b"k"], [b"stale"])
    await producer.acknowledge()


def test_a_refused_batch_makes_the_commit_unreachable(kafka: str) -> None:
    topic = make_topic(kafka, configs={"max.message.bytes": "2000"})
    other = make_topic(kafka)
    source, group = TopicPartition(other, 0), unique("group")

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        await producer.append(other, 0, [b"k"], [b"fine"])
        await producer.append(topic, 0, [b"k"], [b"x" * 3000])
        with pytest.raises(RecordTooLarge) as raised:
            await producer.acknowledge()
        assert raised.value.topic == topic
        assert raised.value.lasting
        with pytest.raises(Failed):
            await producer.add_offset(source, 1, group)
        with pytest.raises(Failed):
            await producer.commit()
        with pytest.raises(Failed):
            await producer.begin()
        assert producer.must_renew
        assert await producer.abort()
        await producer.close()
        admin = Admin(ClientSettings(kafka))
        assert await asyncio.to_thread(admin.committed, group) == {}
        admin.close()

    run(scenario)


def test_a_refusal_that_has_no_name_of_its_own_fails_the_transaction_too(kafka: str) -> None:
    compacted = make_topic(kafka, configs={"cleanup.policy": "compact"})

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        await producer.append(compacted, 0, [None], [b"a compacted topic takes no record without a key"])
        with pytest.raises(Failed, match="acknowledgements"):
            await producer.acknowledge()
        await producer.abort()
        await producer.close()

    run(scenario)


def test_nothing_is_committed_that_is_not_acknowledged(kafka: str) -> None:
    topic = make_topic(kafka)

    async def scenario() -> None:
        for step in ("commit", "add_offset"):
            producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
            await producer.begin()
            await producer.append(topic, 0, [b"k"], [b"v"])
            with pytest.raises(Failed, match="not acknowledged"):
                await (
                    producer.commit()
                    if step == "commit"
                    else producer.add_offset(TopicPartition(topic, 0), 1, unique("group"))
                )
            await producer.abort()
            await producer.close()

    run(scenario)


def test_a_partition_or_topic_that_does_not_exist_is_refused(kafka: str) -> None:
    topic, nowhere = make_topic(kafka), unique("nowhere")

    async def scenario() -> None:
        for name, partition in ((topic, 9), (nowhere, 0)):
            producer = await TransactionalProducer.fence(
                ClientSettings(kafka), unique("owner"), Deadlines(request=1, commit=2)
            )
            await producer.begin()
            with pytest.raises(Failed):
                await producer.append(name, partition, [b"k"], [b"v"])
            await producer.close()

    run(scenario)


def test_fencing_an_unreachable_broker_fails(kafka: str) -> None:
    async def scenario() -> None:
        with pytest.raises(Failed):
            await TransactionalProducer.fence(ClientSettings("127.0.0.1:1"), unique("owner"), Deadlines(commit=2))

    run(scenario)


def test_abort_and_close_can_be_repeated(kafka: str) -> None:
    topic = make_topic(kafka)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        assert not await producer.abort()
        await producer.close()
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        await producer.append(topic, 0, [b"k"] * 10, [b"v"] * 10)
        await producer.close()
        assert not await producer.abort()
        await producer.close()
        with pytest.raises(TransactionError):
            await producer.commit()

    run(scenario)


def test_an_offset_that_was_on_its_way_does_not_stop_an_abort(kafka: str) -> None:
    tp, group = TopicPartition(make_topic(kafka), 0), unique("group")

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        asked = producer._producer.transactions.add_offsets_to_txn({tp: OffsetAndMetadata(1, "")}, group)
        assert await producer.abort()
        assert asked.done()
        await producer.close()

    run(scenario)


def test_a_failure_that_no_one_asked_for_is_not_reported_as_lost(kafka: str) -> None:
    topic, owner = make_topic(kafka), unique("owner")

    async def scenario() -> None:
        old = await TransactionalProducer.fence(ClientSettings(kafka), owner)
        await old.begin()
        new = await TransactionalProducer.fence(ClientSettings(kafka), owner)
        await old.append(topic, 0, [b"k"], [b"stale"])
        await asyncio.wait([ack for _, ack in old._acks])
        await old.close()
        await new.close()

    run(scenario)


def test_a_failure_that_several_requests_hear_of_is_not_reported_as_lost(kafka: str) -> None:
    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        for _ in range(2):
            producer._producer.transactions.fatal_error(ProducerFenced())
        await producer.close()

    run(scenario)
