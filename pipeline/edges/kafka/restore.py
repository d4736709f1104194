"""Rebuild a task's state from its changelogs, and decide from which offset it goes on.

Called only after the fence: nobody else can write these changelogs or commit for this partition any more.
The meta record is the authority, for it was written in the same transaction as the state.
"""

from __future__ import annotations

import asyncio
import logging
import time

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.changelog import Meta
from pipeline.core.config.model import Stream
from pipeline.core.partition import Identity, Partition, TablePartition
from pipeline.edges.kafka.admin import Bounds, Isolation, TopicInfo
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, PartitionError
from pipeline.edges.kafka.world import World
from pipeline.errors import KafkaStateError

log = logging.getLogger(__name__)

_SLICE = 10_000
_AGREE_SECONDS = 5.0
_STALL_SECONDS = 30.0


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
        partition = Partition(app, self._stream, self.tp.partition, source.partitions)
        logs = [table.changelog_topic for table in partition.tables.values()]
        topics = await self._describe([self.tp.topic, *logs, app.dead_letters])
        self._check_topics(topics, partition)
        for table in partition.tables.values():
            await self._read(table)
        self._check_metas(partition, topics)
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

    def _check_topics(self, topics: dict[str, TopicInfo], partition: Partition) -> None:
        for table in partition.tables.values():
            for name in (table.changelog_topic, table.output_topic):
                info = topics.get(name) or self._world.topics[name]
                if self.tp.partition >= info.partitions:
                    raise KafkaStateError(
                        f"{self.tp.topic} has a partition {self.tp.partition}, but {name} has only {info.partitions}: "
                        "the source has grown",
                        "keys may have moved between partitions: `streamfold reset FILE` makes the state anew",
                    )

    async def _read(self, table: TablePartition) -> None:
        """Read one changelog to its high watermark."""
        tp = TopicPartition(table.changelog_topic, self.tp.partition)
        name = table.table.name
        start, end = await self._settled_bounds(tp)
        self.remaining[name] = end - start
        reader = ColumnarConsumer.reader(self._world.settings)
        try:
            async with asyncio.timeout(self._world.deadlines.commit):
                await reader.start()
            reader.assign([tp])
            reader.seek(tp, start)
            position, moved = start, time.monotonic()
            while position < end:
                for drained in await reader.drain({tp}, limit=_SLICE, timeout=1.0):
                    await self._world.in_thread(table.changelog.apply, drained.batch.keys, drained.batch.values)
                    position, moved = drained.batch.next, time.monotonic()
                    self.remaining[name] = max(0, end - position)
                if time.monotonic() - moved > _STALL_SECONDS:
                    raise Failed(f"no records from {tp.topic}-{tp.partition} at {position} of {end}")
        except (KafkaError, PartitionError, TimeoutError, OSError) as error:
            if isinstance(error, PartitionError) and error.lasting:
                raise KafkaStateError(error.cause, error.mend) from error
            raise Failed(f"{tp.topic}-{tp.partition} can't be read: {error!r}") from error
        finally:
            await reader.shutdown()
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
        written = {meta.next_offset for meta in metas.values() if meta is not None}
        committed = await self._world.committed(self.tp)
        lacking = [name for name, meta in metas.items() if meta is None]
        if not written and committed is None:
            return (source.start if self._stream.start == "earliest" else source.end), None
        if lacking:
            raise KafkaStateError(
                f"table {', '.join(lacking)} has no state, but {self.tp.topic}-{self.tp.partition} is folded up to "
                f"{committed if committed is not None else max(written)}",
                "a table added later, or a lost changelog: `streamfold reset FILE` folds all from the first event",
            )
        if len(written) > 1:
            raise KafkaStateError(
                f"the changelogs of {self.tp.topic}-{self.tp.partition} speak of different offsets: {sorted(written)}",
                "`streamfold reset FILE` makes the state anew",
            )
        position = written.pop()
        deadline = time.monotonic() + _AGREE_SECONDS
        while committed is not None and committed != position:
            if time.monotonic() > deadline:
                raise KafkaStateError(
                    f"{self.tp.topic}-{self.tp.partition}: the state ends at {position}, the group is at {committed}",
                    "someone moved the group's offsets: put them back, or `streamfold reset FILE`",
                )
            await asyncio.sleep(0.2)
            committed = await self._world.committed(self.tp)
        if not source.start <= position <= source.end:
            raise KafkaStateError(
                f"{self.tp.topic}-{self.tp.partition} goes on at {position}, but the topic holds only "
                f"{source.start} to {source.end}",
                "retention passed the worker, or the topic was made anew: `streamfold reset FILE` folds what there is",
            )
        return position, committed

    def _check_metas(self, partition: Partition, topics: dict[str, TopicInfo]) -> None:
        """State, topics and configuration belong together."""
        for name, table in partition.tables.items():
            meta = table.changelog.meta
            if meta is None:
                if table.changelog.trouble is not None:
                    raise table.changelog.trouble
                continue
            info, source = topics[table.changelog_topic], topics[self.tp.topic]
            reset = "`streamfold reset FILE` makes the state anew from the first event"
            if meta.fingerprint != table.fingerprint:
                raise KafkaStateError(f"the operators of table {name} changed since its state was written", reset)
            if table.changelog.trouble is not None:
                raise table.changelog.trouble
            if meta.source_id != source.topic_id:
                raise KafkaStateError(
                    f"topic {self.tp.topic} was deleted and made again since table {name} read it", reset
                )
            if meta.changelog_id != info.topic_id:
                raise KafkaStateError(f"{info.name} was deleted and made again: state is lost", reset)
            if meta.transactional_id != self._transactional_id:
                raise KafkaStateError(
                    f"the state of table {name} was written under the transactional id {meta.transactional_id}",
                    "give the app the name it had, or " + reset,
                )
            if meta.keys != table.state.live:
                raise KafkaStateError(
                    f"{info.name}-{self.tp.partition} should hold {meta.keys} keys, not {table.state.live}",
                    reset,
                )
