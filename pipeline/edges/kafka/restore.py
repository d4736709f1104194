"""Rebuild a task's state from its changelogs, and decide from which offset it goes on.

Called only after the fence: nobody else can write these changelogs or commit for this partition any more.
The meta record is the authority, for it was written in the same transaction as the state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.batch import WireBatch
from pipeline.core.changelog import Meta
from pipeline.core.config.model import Stream
from pipeline.core.partition import Identity, Partition
from pipeline.core.table import TablePartition
from pipeline.edges.kafka.admin import Bounds, Isolation
from pipeline.edges.kafka.authority import Troubles, catching_up, contradictions, grown, strange
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, PartitionError
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.edges.kafka.world import World
from pipeline.errors import KafkaStateError

log = logging.getLogger(__name__)

_SLICE = 10_000
_AGREE_SECONDS = 5.0
_STALL_SECONDS = 30.0
_START_SECONDS = 10.0


async def read_log(settings: ClientSettings, tp: TopicPartition, start: int, end: int) -> AsyncGenerator[WireBatch]:
    """The committed records of a partition from ``start`` up to ``end``, in slices. Close it (``aclosing``).

    Raises:
        KafkaStateError: it can't be read, and never will be as things are.
        Failed: the broker did not answer; to be tried again.
    """
    if start == end:
        return
    reader = ColumnarConsumer.reader(settings)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await reader.start()
        reader.assign([tp])
        reader.seek(tp, start)
        position, moved = start, time.monotonic()
        while position < end:
            for drained in await reader.drain({tp}, limit=_SLICE, timeout=1.0):
                yield drained.batch
                position, moved = drained.batch.next, time.monotonic()
            if time.monotonic() - moved > _STALL_SECONDS:
                raise Failed(f"no records from {tp.topic}-{tp.partition} at {position} of {end}")
    except (KafkaError, PartitionError, TimeoutError, OSError) as error:
        if isinstance(error, PartitionError) and error.lasting:
            raise KafkaStateError(error.cause, error.mend) from error
        raise Failed(f"{tp.topic}-{tp.partition} can't be read: {error!r}") from error
    finally:
        await reader.shutdown()


def _refuse(troubles: Troubles) -> None:
    for trouble in troubles:
        raise trouble


class Restore:
    """One task's restore; ``remaining`` counts the records still to be read, by table."""

    def __init__(self, world: World, stream: Stream, tp: TopicPartition, transactional_id: str) -> None:
        self.tp = tp
        self.remaining: dict[str, int] = {}
        self._world = world
        self._stream = stream
        self._transactional_id = transactional_id

    async def run(self) -> tuple[Partition, int | None]:
        """Restore. Returns what to fold into, resumed at its position, and the committed offset (None: a first start).

        Raises:
            KafkaStateError: state, source and configuration do not belong together.
            Failed: the broker did not answer; to be tried again.
        """
        world, app = self._world, self._world.app
        source = self._world.topics[self.tp.topic]
        counts = {name: info.partitions for name, info in world.topics.items()}
        partition = Partition(app, self._stream, self.tp.partition, source.partitions, counts)
        logs = [table.changelog_topic for table in partition.tables.values()]
        topics = await self._describe([self.tp.topic, *logs, app.dead_letters])
        _refuse(grown(self.tp, partition.tables, world.topics | topics))
        for table in partition.tables.values():
            await self._read(table)
        _refuse(strange(self.tp, partition.tables, topics, self._transactional_id))
        metas = {name: table.changelog.meta for name, table in partition.tables.items()}
        position, committed = await self._agree(metas, await self._bounds(self.tp, "read_committed"))
        letters = topics[app.dead_letters]
        partition.resume(
            position,
            Identity(
                transactional_id=self._transactional_id,
                source_id=topics[self.tp.topic].topic_id,
                changelog_ids={name: topics[t.changelog_topic].topic_id for name, t in partition.tables.items()},
                dead_letter_partition=self.tp.partition % letters.partitions,
                dead_letter_limit=letters.max_message_bytes,
            ),
        )
        world.metrics.restored("assigned")
        return partition, committed

    async def _describe(self, names: list[str]) -> dict[str, TopicInfo]:
        found = await self._world.ask(self._world.admin.describe, names)
        missing = [name for name in names if name not in found]
        if missing:
            # Without a leader for the moment, or deleted: the watch tells these apart, and ends the worker.
            raise Failed(f"topic {', '.join(missing)} is not to be had")
        return found

    async def _read(self, table: TablePartition) -> None:
        """Read one changelog to its high watermark."""
        tp = TopicPartition(table.changelog_topic, self.tp.partition)
        name = table.table.name
        start, end = await self._settled_bounds(tp)
        self.remaining[name] = end - start
        async with aclosing(read_log(self._world.settings, tp, start, end)) as batches:
            async for batch in batches:
                await self._world.in_thread(table.changelog.apply, batch.keys, batch.values)
                self.remaining[name] = max(0, end - batch.next)
        await self._world.in_thread(table.changelog.finish)

    async def _settled_bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """Start and high watermark of a changelog that no open transaction holds up: ours is finished by the fence."""
        deadline = time.monotonic() + _STALL_SECONDS
        while True:
            stable = await self._bounds(tp, "read_committed")
            high = await self._bounds(tp, "read_uncommitted")
            if stable.end >= high.end:
                return high.start, high.end
            if time.monotonic() > deadline:
                raise KafkaStateError(
                    f"a foreign transaction holds up {tp.topic}-{tp.partition} (stable to {stable.end} of {high.end})",
                    "find its producer and end it; only streamfold may write to a changelog",
                )
            log.warning("%s-%s: waiting for a foreign open transaction to end", tp.topic, tp.partition)
            await asyncio.sleep(0.5)

    async def _bounds(self, tp: TopicPartition, isolation: Isolation) -> Bounds:
        return await self._world.ask(self._world.admin.bounds, tp, isolation)

    async def _agree(self, metas: dict[str, Meta | None], source: Bounds) -> tuple[int, int | None]:
        """The position to go on from, and the committed offset, None if it has to be written first."""
        commit = await self._world.commit_of(self.tp)
        deadline = time.monotonic() + _AGREE_SECONDS
        while catching_up(metas, commit) and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            commit = await self._world.commit_of(self.tp)
        if commit is not None and catching_up(metas, commit):
            log.warning("%s-%s: the group still says %s; going on from the state", *self.tp, commit.offset)
            commit = None
        committed = None if commit is None else commit.offset
        _refuse(contradictions(self.tp, metas, committed, source))
        (position,) = {None if meta is None else meta.next_offset for meta in metas.values()}
        if position is not None:
            return position, committed
        return (source.start if self._stream.start == "earliest" else source.end), None
