from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import FETCH_BYTES, ColumnarConsumer
from pipeline.edges.kafka.errors import PartitionError
from pipeline.edges.kafka.producer import TransactionalProducer
from tests.kafka.clients import (
    drain_to,
    make_topic,
    offsets_of,
    read_all,
    reader_at,
    run,
    shut,
    unique,
    values_of,
    write,
)

_LAST_OFFSET_DELTA = 23
_CRC = 17
_ATTRIBUTES = 21


def _wire_batch(base_offset: int, deltas: Sequence[int], last_delta: int) -> bytearray:
    """A wire batch as the broker leaves it after compaction: holes between the records and after the last."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for delta in deltas:
        builder.append(delta, 1_700_000_000_000, b"k", b"%d" % (base_offset + delta), [])
    buffer = bytearray(builder.build())
    struct.pack_into(">q", buffer, 0, base_offset)
    struct.pack_into(">i", buffer, _LAST_OFFSET_DELTA, last_delta)
    struct.pack_into(">I", buffer, _CRC, calc_crc32c(bytes(buffer[_ATTRIBUTES:])))
    return buffer


async def _fetched(consumer: ColumnarConsumer, tp: TopicPartition) -> Any:
    """What the fetch loop holds of a partition, as soon as it holds something."""
    async with asyncio.timeout(30):
        while tp not in consumer._fetcher._records:
            await consumer.drain(set(), limit=1, timeout=0.01)
    return consumer._fetcher._records[tp]._partition_records


async def _replace_fetched(consumer: ColumnarConsumer, tp: TopicPartition, data: bytes) -> None:
    (await _fetched(consumer, tp))._records = MemoryRecords(data)


def test_columns_are_what_an_independent_client_reads(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5) as producer:
            for key, value in [(b"a", b"1"), (None, b"2"), (b"c", None), (b"", b""), ("é".encode(), b"x" * 70_000)]:
                await producer.send(tp.topic, value, key, partition=0, headers=[("h", b"v"), ("n", None)])
            await producer.flush()
            await producer.send(tp.topic, b"last", timestamp_ms=1_700_000_000_123)
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            drained = await drain_to(consumer, tp, 6)
            expected = await asyncio.to_thread(read_all, kafka, tp.topic, 6)
            columns = [
                row
                for item in drained
                for row in zip(
                    item.batch.keys, item.batch.values, item.batch.offsets, item.batch.timestamps, strict=True
                )
            ]
            assert columns == [(r.key, r.value, r.offset, r.timestamp) for r in expected]
            assert consumer.fetch_position(tp) == 6

    run(scenario)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_read_and_a_seek_into_one_starts_inside_it(kafka: str, codec: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, compression_type=codec) as producer:
            batch = producer.create_batch()
            for i in range(100):
                batch.append(key=None, value=b"value %d" % i, timestamp=1_700_000_000_000 + i)
            await (await producer.send_batch(batch, tp.topic, partition=0))
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            assert values_of(await drain_to(consumer, tp, 100)) == [b"value %d" % i for i in range(100)]
            consumer.seek(tp, 60)
            inside = await drain_to(consumer, tp, 100)
            assert offsets_of(inside) == list(range(60, 100))
            assert inside[0].batch.start == 60
            assert len(inside[0].batch.keys) == len(inside[0].batch.timestamps) == 40

    run(scenario)


def test_the_limit_is_kept_to_whole_wire_batches(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for start in range(0, 50, 10):
                batch = producer.create_batch()
                for i in range(start, start + 10):
                    batch.append(key=None, value=b"%d" % i, timestamp=None)
                await (await producer.send_batch(batch, tp.topic, partition=0))
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            drained = await drain_to(consumer, tp, 50, limit=15)
            assert [len(item.batch) for item in drained] == [20, 20, 10]
            assert values_of(drained) == [b"%d" % i for i in range(50)]

    run(scenario)


def test_no_more_of_a_long_log_is_held_than_one_fetch(kafka: str) -> None:
    """A restore reads logs of any length in the same memory."""
    tp = TopicPartition(make_topic(kafka), 0)
    values = [bytes(50_000)] * (3 * FETCH_BYTES // 50_000)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, tp.topic, values)
        await producer.close()
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            drained = await drain_to(consumer, tp, len(values) + 1, limit=len(values))
        assert values_of(drained) == values
        held = [sum(len(value or b"") for value in item.batch.values) for item in drained]
        assert max(held) <= FETCH_BYTES < sum(held)

    run(scenario)


def test_the_memory_of_what_was_fetched_is_free_without_pythons_collector(kafka: str) -> None:
    """The collector looks for cycles rarely in a worker, and what is fetched meanwhile would add up to gigabytes."""
    taken, passed_over = TopicPartition(make_topic(kafka), 0), TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        for tp in (taken, passed_over):
            await write(producer, tp.topic, [b"one", b"two"])
        await producer.close()
        async with shut(await reader_at(kafka, {taken: 0, passed_over: 0})) as consumer:
            fetched = [weakref.ref(await _fetched(consumer, tp)) for tp in (taken, passed_over)]
            assert None not in [records() for records in fetched]
            assert values_of(await drain_to(consumer, taken, 3)) == [b"one", b"two"]  # and the marker behind
            consumer.seek(passed_over, 2)
            assert [records() for records in fetched] == [None, None]

    gc.disable()
    try:
        run(scenario)
    finally:
        gc.enable()


def test_aborted_transactions_are_invisible_and_leave_no_gap(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)
    settings = ClientSettings(kafka)
    owner = unique("owner")

    async def scenario() -> None:
        first = await TransactionalProducer.fence(settings, owner)
        await write(first, tp.topic, [b"a", b"b"])
        await write(first, tp.topic, [b"lost", b"lost"], commit=False)
        assert await first.abort()
        await first.close()
        second = await TransactionalProducer.fence(settings, owner)
        await write(second, tp.topic, [b"c"])
        await second.close()
        # a b COMMIT lost lost ABORT c COMMIT
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            drained = await drain_to(consumer, tp, 8, limit=1)
            assert values_of(drained) == [b"a", b"b", b"c"]
            assert offsets_of(drained) == [0, 1, 6]

    run(scenario)


def test_an_open_transaction_holds_reading_up_and_the_watermarks_say_so(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, tp.topic, [b"a"])
        await write(producer, tp.topic, [b"open"], commit=False)
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            assert values_of(await drain_to(consumer, tp, 2)) == [b"a"]
            assert await consumer.drain({tp}, limit=10, timeout=0.3) == []
            marks = consumer.watermarks(tp)
            assert marks is not None
            assert (marks.stable, marks.high) == (2, 3)
            await producer.commit()
            assert values_of(await drain_to(consumer, tp, 4)) == [b"open"]
        await producer.close()

    run(scenario)


def test_holes_of_compaction_are_inside_start_and_next(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, tp.topic, [b"%d" % i for i in range(20)])
        await producer.close()
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            compacted = bytes(_wire_batch(0, [0], 0) + _wire_batch(1, [0, 2, 5], 8) + _wire_batch(10, [1], 1))
            await _replace_fetched(consumer, tp, compacted)
            (whole,) = await consumer.drain({tp}, limit=100, timeout=0)
            assert list(whole.batch.offsets) == [0]
            assert (whole.batch.start, whole.batch.next) == (0, 1)
            # The first hole has the partition fetched again from there, to be looked at record by record.
            assert consumer.fetch_position(tp) == 1
            await _replace_fetched(consumer, tp, compacted)
            (drained,) = await consumer.drain({tp}, limit=100, timeout=0)
            assert drained.batch.offsets == [1, 3, 6, 11]
            assert drained.batch.values == [b"1", b"3", b"6", b"11"]
            assert len(drained.batch.keys) == len(drained.batch.timestamps) == 4
            assert (drained.batch.start, drained.batch.next) == (1, 12)
            assert consumer.fetch_position(tp) == 12

    run(scenario)


def test_partitions_that_are_not_wanted_stay_where_they_are(kafka: str) -> None:
    topic = make_topic(kafka, 2)
    wanted, other = TopicPartition(topic, 0), TopicPartition(topic, 1)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        for partition in (0, 1):
            await write(producer, topic, [b"%d" % i for i in range(5)], partition)
        await producer.close()
        async with shut(await reader_at(kafka, {wanted: 0, other: 0})) as consumer:
            await _fetched(consumer, other)
            assert {item.tp for item in await consumer.drain({wanted}, limit=10, timeout=5)} == {wanted}
            assert consumer.fetch_position(other) == 0
            assert offsets_of(await drain_to(consumer, other, 6)) == [0, 1, 2, 3, 4]

    run(scenario)


def test_a_damaged_batch_is_reported_after_what_came_before_it_and_never_skipped(kafka: str) -> None:
    topic = make_topic(kafka, 2)
    damaged, sound = TopicPartition(topic, 0), TopicPartition(topic, 1)
    both = {damaged, sound}

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for i in range(3):
                await producer.send_and_wait(topic, b"%d" % i, partition=0)
            await producer.send_and_wait(topic, b"sound", partition=1)
        async with shut(await reader_at(kafka, {damaged: 0, sound: 0})) as consumer:
            for attempt in range(2):
                consumer.seek(damaged, 0)
                consumer.seek(sound, 0)
                await _fetched(consumer, sound)
                batches = [_wire_batch(0, [0], 0), _wire_batch(1, [0], 0), _wire_batch(2, [0], 0)]
                batches[1][-2] ^= 1
                await _replace_fetched(consumer, damaged, b"".join(batches))
                drained = await consumer.drain(both, limit=100, timeout=0)
                assert {item.tp: item.batch.values for item in drained} == {damaged: [b"0"], sound: [b"sound"]}
                assert consumer.fetch_position(damaged) == 1
                with pytest.raises(PartitionError, match="wrong checksum") as raised:
                    await consumer.drain(both, limit=100, timeout=0)
                assert raised.value.tp == damaged
                assert raised.value.lasting == (attempt == 1)
            # Fetched again from where it stopped, this time undamaged.
            assert values_of(await drain_to(consumer, damaged, 3)) == [b"1", b"2"]

    run(scenario)


def test_a_batch_that_breaks_off_gives_none_of_its_rows(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            await producer.send_and_wait(tp.topic, b"0", partition=0)
        async with shut(await reader_at(kafka, {tp: 0})) as consumer:
            torn = _wire_batch(1, [0, 1], 1)
            struct.pack_into(">i", torn, 57, 3)  # it claims three records, and its checksum agrees
            struct.pack_into(">I", torn, _CRC, calc_crc32c(bytes(torn[_ATTRIBUTES:])))
            await _replace_fetched(consumer, tp, bytes(_wire_batch(0, [0], 0) + torn))
            (drained,) = await consumer.drain({tp}, limit=100, timeout=0)
            batch = drained.batch
            assert (batch.keys, batch.values, list(batch.offsets), len(batch.timestamps)) == ([b"k"], [b"0"], [0], 1)
            assert (batch.start, batch.next) == (0, 1)
            with pytest.raises(PartitionError):
                await consumer.drain({tp}, limit=100, timeout=0)

    run(scenario)


def test_a_position_outside_the_log_is_an_error_and_never_reset(kafka: str) -> None:
    topic = make_topic(kafka, 2)
    outside, inside = TopicPartition(topic, 0), TopicPartition(topic, 1)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, topic, [b"x"], 0)
        await write(producer, topic, [b"y"], 1)
        await producer.close()
        async with shut(await reader_at(kafka, {outside: 99, inside: 0})) as consumer:
            drained = await consumer.drain({inside}, limit=10, timeout=10)
            assert values_of(drained) == [b"y"]
            with pytest.raises(PartitionError) as raised:
                await consumer.drain({outside}, limit=10, timeout=10)
            assert raised.value.tp == outside
            assert raised.value.lasting
            assert raised.value.mend
            assert consumer.fetch_position(outside) == 99
            consumer.seek(outside, 0)
            assert values_of(await drain_to(consumer, outside, 2)) == [b"x"]

    run(scenario)


def test_a_partition_of_a_new_group_waits_for_its_seek_without_raising(kafka: str) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, tp.topic, [b"x"])
        await producer.close()
        consumer = ColumnarConsumer(ClientSettings(kafka), group_id=unique("group"))
        await consumer.start()
        consumer.subscribe([tp.topic])
        async with shut(consumer):
            async with asyncio.timeout(20):
                while consumer.current_assignment() is None:
                    assert await consumer.drain(set(), limit=10, timeout=0.05) == []
            consumer.pause(tp)
            assert await consumer.drain(set(), limit=10, timeout=0.5) == []
            assert consumer.seek_and_resume(tp, 0, consumer.current_assignment())
            assert values_of(await drain_to(consumer, tp, 2)) == [b"x"]

    run(scenario)
