"""The workload: scores as JSON of about 60 bytes, keyed by a Zipf law."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from pipeline.edges.kafka.client import ClientSettings

_CHUNK = 50_000
_BATCH_BYTES = 512 * 1024
_FIRST_TIME = 1.7e9


async def fill(settings: ClientSettings, topic: str, partitions: int, events: int, keys: int) -> int:
    """Send the events to the topic, each to the partition of its key. Returns the bytes of all values."""
    producer = AIOKafkaProducer(**settings.for_aiokafka(), max_batch_size=_BATCH_BYTES, acks="all")
    await producer.start()
    size = 0
    try:
        home = _Homes(partitions)
        for chunk in _chunks(events, keys):
            shares: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
            for key, value in chunk:
                shares[home[key]].append((key, value))
                size += len(value)
            for partition, share in enumerate(shares):
                await send_share(producer, topic, partition, share)
        await producer.flush()
    finally:
        await producer.stop()
    return size


class _Homes(dict[bytes, int]):
    """Each key's partition, as Kafka's own default partitioner has it."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = list(range(partitions))
        self._partition = DefaultPartitioner()

    def __missing__(self, key: bytes) -> int:
        home: int = self._partition(key, self._partitions, self._partitions)
        self[key] = home
        return home


def _chunks(events: int, keys: int) -> Iterator[Iterator[tuple[bytes, bytes]]]:
    random = np.random.default_rng(0)
    for first in range(0, events, _CHUNK):
        count = min(_CHUNK, events - first)
        names = [b"player-%d" % key for key in (random.zipf(1.1, count) % keys).tolist()]
        scores = random.normal(50, 10, count).tolist()
        yield (
            (name, b'{"player":"%s","score":%.4f,"ts":%.3f}' % (name, score, _FIRST_TIME + i * 0.001))
            for i, (name, score) in enumerate(zip(names, scores, strict=True), first)
        )


async def send_share(
    producer: AIOKafkaProducer, topic: str, partition: int, share: Sequence[tuple[bytes, bytes]]
) -> None:
    """Send keys and values, one pair at least, in wire batches that are made here: quicker than one by one."""
    now = int(time.time() * 1000)
    batch = producer.create_batch()
    for key, value in share:
        if batch.append(key=key, value=value, timestamp=now) is None:
            await producer.send_batch(batch, topic, partition=partition)
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=now)
    await producer.send_batch(batch, topic, partition=partition)
