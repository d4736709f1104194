"""A process that sends scores at a steady rate: ``python -m bench.reads.source BROKERS TOPIC PARTITIONS RATE``."""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from pipeline.edges.bench.load import send_share
from pipeline.edges.kafka.client import ClientSettings

KEYS = 10_000
_TICKS = 20
_POOL = 100_000
_BATCH_BYTES = 256 * 1024


def pool(partitions: int) -> list[list[tuple[bytes, bytes]]]:
    """Events made beforehand, for each partition: sending them is all that there is to do."""
    random, places, home = np.random.default_rng(1), list(range(partitions)), DefaultPartitioner()
    shares: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
    for number in (random.zipf(1.1, _POOL) % KEYS).tolist():
        key = b"player-%d" % number
        value = b'{"player":"%s","score":%.4f,"ts":1.7e9}' % (key, 50 + number % 7)
        shares[home(key, places, places)].append((key, value))
    return shares


async def send(brokers: str, topic: str, partitions: int, rate: float) -> None:
    """Until the process is ended. What one tick could not send in time the next ones send too."""
    settings = ClientSettings(brokers)
    producer = AIOKafkaProducer(**settings.for_aiokafka(), max_batch_size=_BATCH_BYTES, acks="all")
    await producer.start()
    shares = pool(partitions)
    began, sent, places = time.monotonic(), 0, [0] * partitions
    while True:
        due = int((time.monotonic() - began) * rate) - sent
        for partition, share in enumerate(shares):
            start = places[partition]
            part = share[start : start + due // partitions]
            if part:
                await send_share(producer, topic, partition, part)
            places[partition] = (start + len(part)) % len(share)
            sent += len(part)
        await asyncio.sleep(1 / _TICKS)


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
