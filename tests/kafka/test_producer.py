"""What a transaction writes, and what it announces beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Failed, RecordTooLarge
from pipeline.edges.kafka.producer import BATCH_BYTES, TransactionalProducer
from tests.kafka.clients import make_topic, read_all, run, unique, write

_INT_MAX = 2**31 - 1


def test_records_arrive_in_order_as_they_were_given_stamped_with_the_wall_clock(kafka: str) -> None:
    topic = make_topic(kafka, 2)
    keys: list[bytes | None] = [b"key %d" % i for i in range(20_000)]
    values: list[bytes | None] = [b"%d" % i * 20 for i in range(20_000)]
    keys[3] = None
    values[7_000] = None
    headers = [[("reason", b"%d" % i), ("none", None)] if i % 1_000 == 0 else [] for i in range(20_000)]

    async def scenario() -> None:
        before = time.time() * 1000
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        await producer.append(topic, 1, keys, values, headers)
        await producer.append(topic, 1, [b"second"], [b"append"])
        await producer.acknowledge()
        await producer.commit()
        assert not producer.must_renew
        await producer.close()
        with pytest.raises(Failed, match="it was closed"):
            await producer.acknowledge()
        records = await asyncio.to_thread(read_all, kafka, topic, 20_001, 1)
        assert [r.key for r in records] == [*keys, b"second"]
        assert [r.value for r in records] == [*values, b"append"]
        assert [list(r.headers) for r in records] == [*headers, []]
        assert all(before - 1 <= r.timestamp <= time.time() * 1000 for r in records)

    run(scenario)


def test_a_lull_begins_as_soon_as_the_broker_is_asked_what_takes_a_while(kafka: str) -> None:
    topic = make_topic(kafka, 2)
    seen = list[str]()

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(
            ClientSettings(kafka), unique("owner"), lull=lambda: seen.append("lull")
        )
        send = producer._producer.client.send

        async def noted(node: int, request: Any, **options: Any) -> Any:
            seen.append(type(request).__name__)
            return await send(node, request, **options)

        producer._producer.client.send = noted
        for offset in (1, 2):
            seen.clear()
            await producer.begin()
            await producer.announce([TopicPartition(topic, 1)], "lulls")
            await producer.append(topic, 1, [b"key"], [b"value"])
            await producer.acknowledge()
            await producer.add_offset(TopicPartition(topic, 0), offset, "lulls")
            await producer.commit()
        await producer.close()
        asked = [name for name in seen if name == "lull" or name.startswith(("Produce", "TxnOffset", "EndTxn"))]
        assert asked == ["ProduceRequest", "lull", "TxnOffsetCommitRequest", "lull", "EndTxnRequest"], seen

    run(scenario)


def test_records_and_offset_are_committed_together_or_not_at_all(kafka: str) -> None:
    topic = make_topic(kafka)
    source, group = TopicPartition(topic, 0), unique("group")
    owner = unique("owner")

    async def scenario() -> None:
        settings = ClientSettings(kafka)
        admin = Admin(settings)
        first = await TransactionalProducer.fence(settings, owner)
        for offset, value in ((5, b"kept"), (9, b"lost")):
            await first.begin()
            await first.append(topic, 0, [b"k"], [value])
            await first.acknowledge()
            await first.add_offset(source, offset, group)
            await (first.commit() if value == b"kept" else first.abort())
        await first.close()
        assert await asyncio.to_thread(admin.committed, group) == {source: 5}
        second = await TransactionalProducer.fence(settings, owner)
        await write(second, topic, [b"next"])
        await second.close()
        assert [r.value for r in await asyncio.to_thread(read_all, kafka, topic, 2)] == [b"kept", b"next"]
        admin.close()

    run(scenario)


def test_an_offset_alone_is_a_transaction(kafka: str) -> None:
    source, group = TopicPartition(make_topic(kafka), 0), unique("group")

    async def scenario() -> None:
        admin = Admin(ClientSettings(kafka))
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        await producer.acknowledge()
        await producer.add_offset(source, 42, group)
        await producer.commit()
        await producer.close()
        assert await asyncio.to_thread(admin.committed, group) == {source: 42}
        admin.close()

    run(scenario)


def test_every_write_is_acknowledged_by_all_replicas_that_are_in_sync(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only replica of a test's broker is all there are, so it is seen in what is asked for."""
    topic, asked, original = make_topic(kafka), list[int](), SendProduceReqHandler.create_request

    def noted(handler: Any) -> Any:
        request = original(handler)
        asked.append(request.required_acks)
        return request

    async def scenario() -> None:
        monkeypatch.setattr(SendProduceReqHandler, "create_request", noted)
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, topic, [b"a"])
        await producer.close()

    run(scenario)
    assert set(asked) == {-1}


def test_what_is_announced_joins_the_transaction_at_once_and_this_transaction_only(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, group = make_topic(kafka), make_topic(kafka), unique("group")
    source, added, joined = TopicPartition(first, 0), list[object](), asyncio.Event()

    def noting(name: str) -> None:
        original = getattr(Sender, name)

        async def noted(sender: Sender, what: Any) -> bool:
            names = what if isinstance(what, str) else {tp.topic for tp in what}
            if done := await original(sender, what):  # if not, it is tried again
                added.append(names)
                if names == group:
                    joined.set()
            return bool(done)

        monkeypatch.setattr(Sender, name, noted)

    noting("_do_add_partitions_to_txn")
    noting("_do_add_offsets_to_txn")

    async def scenario() -> None:
        admin = Admin(ClientSettings(kafka))
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await producer.begin()
        await producer.announce([TopicPartition(first, 0), TopicPartition(second, 0)], group)
        for topic in (first, second):
            await producer.append(topic, 0, [b"k"], [b"announced"])
        await producer.acknowledge()
        async with asyncio.timeout(30):
            await joined.wait()
        assert added == [{first, second}, group]
        await producer.add_offset(source, 7, group)
        await producer.commit()
        assert not producer.must_renew
        await write(producer, first, [b"unannounced"])
        await producer.close()
        assert added == [{first, second}, group, {first}]
        assert await asyncio.to_thread(admin.committed, group) == {source: 7}
        assert [r.value for r in await asyncio.to_thread(read_all, kafka, first, 2)] == [b"announced", b"unannounced"]
        admin.close()

    run(scenario)


def test_a_transaction_that_announced_what_never_came_can_be_aborted_or_committed(kafka: str) -> None:
    topic, group = make_topic(kafka), unique("group")

    async def scenario() -> None:
        settings, owner = ClientSettings(kafka), unique("owner")
        producer = await TransactionalProducer.fence(settings, owner)
        for end in (producer.commit, producer.abort):
            await producer.begin()
            await producer.announce([TopicPartition(topic, 0)], group)
            await producer.acknowledge()
            await end()
        await producer.close()
        producer = await TransactionalProducer.fence(settings, owner)
        await producer.begin()
        with pytest.raises(Failed, match=f"{topic} has no partition 1") as refusal:
            await producer.announce([TopicPartition(topic, 0), TopicPartition(topic, 1)], group)
        assert refusal.value.lasting
        assert await producer.abort()
        await producer.close()
        producer = await TransactionalProducer.fence(settings, owner)
        await write(producer, topic, [b"after"])
        await producer.close()
        assert [r.value for r in await asyncio.to_thread(read_all, kafka, topic, 1)] == [b"after"]

    run(scenario)


def test_a_record_over_a_known_limit_is_named_before_it_is_sent(kafka: str) -> None:
    topic = make_topic(kafka, configs={"max.message.bytes": "2000"})
    fitting = [b"x" * 900] * 7

    async def scenario() -> None:
        settings, limits = ClientSettings(kafka), {topic: 2000}
        producer = await TransactionalProducer.fence(settings, unique("owner"), limits=limits)
        await write(producer, topic, fitting)
        await producer.begin()
        with pytest.raises(RecordTooLarge) as raised:
            await producer.append(topic, 0, [b"k"] * 8, [*fitting[:5], b"x" * 2000, b"", b""])
        assert raised.value.index == 5
        assert await producer.abort()
        await producer.close()
        assert len(await asyncio.to_thread(read_all, kafka, topic, 7)) == 7

    run(scenario)


def test_a_record_larger_than_a_batch_goes_alone(kafka: str) -> None:
    topic = make_topic(kafka)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        values = [b"small", b"x" * (BATCH_BYTES + 1), b"small"]
        await write(producer, topic, values)
        await producer.close()
        assert [r.value for r in await asyncio.to_thread(read_all, kafka, topic, 3)] == values

    run(scenario)


@pytest.mark.parametrize(("partitions", "records"), [(1, 200_000), (8, 5_000)])
def test_appends_let_others_run(kafka: str, partitions: int, records: int) -> None:
    topic = make_topic(kafka, partitions)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        ticks = 0

        async def heart() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        await write(producer, topic, [b"the topic is known from here on"])
        await producer.begin()
        beating = asyncio.create_task(heart())
        for partition in range(partitions):
            await producer.append(topic, partition, [b"k"] * records, [b"v" * 20] * records)
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        batches = len(producer._acks)
        assert batches > 5
        assert ticks >= batches
        await producer.acknowledge()
        await producer.commit()
        await producer.close()

    run(scenario)


def _kafka_increment(sequence: int, increment: int) -> int:
    """DefaultRecordBatch.incrementSequence of Apache Kafka."""
    return increment - (_INT_MAX - sequence) - 1 if sequence > _INT_MAX - increment else sequence + increment


def test_sequence_numbers_wrap_as_the_broker_counts_them(kafka: str) -> None:
    topic = make_topic(kafka)
    tp = TopicPartition(topic, 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        numbers = producer._producer.transactions
        for sequence in (0, 5, _INT_MAX - 3, _INT_MAX - 2, _INT_MAX - 1, _INT_MAX):
            for increment in (1, 2, 3, 4, 1000):
                numbers._sequence_numbers[tp] = sequence
                numbers.increment_sequence_number(tp, increment)
                assert numbers.sequence_number(tp) == _kafka_increment(sequence, increment)
        # A partition that has not heard of a producer takes any first number, so the end is in reach.
        numbers._sequence_numbers[tp] = _INT_MAX - 4
        for i in range(4):
            await write(producer, topic, [b"%d" % i] * 3)
        assert numbers.sequence_number(tp) == 7
        await producer.close()
        values = [r.value for r in await asyncio.to_thread(read_all, kafka, topic, 12)]
        assert values == [b"%d" % i for i in range(4) for _ in range(3)]

    run(scenario)


def test_a_batch_that_is_built_holds_what_the_builder_says() -> None:
    # A record is refused only by a batch that has one already: this is what `RecordTooLarge.index` rests on.
    builder = DefaultRecordBatchBuilder(2, 0, 1, -1, -1, -1, 100)
    assert builder.append(0, 0, b"k", b"x" * 200, []) is not None
    assert builder.append(1, 0, b"k", b"", []) is None
