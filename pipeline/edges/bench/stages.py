"""Where the time of an event goes: the engine's own parts on real batches, each with a stopwatch around it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from pipeline.core.batch import WireBatch
from pipeline.core.config.model import App, Stream
from pipeline.core.partition import Identity, Partition
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.producer import Deadlines
from pipeline.edges.kafka.topic_spec import TopicInfo

STAGES = ("decode", "key", "fold", "encode", "cut", "append", "commit")


@dataclass
class Stopwatch:
    """CPU seconds by stage. A stage inside another one counts for itself only."""

    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _running: list[str] = field(default_factory=list)
    _since: float = 0.0

    def around(self, owner: Any, name: str, stage: str) -> None:
        """Time every call of a method of this object."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._enter(stage)
            try:
                return method(*args, **kwargs)
            finally:
                self._leave()

        setattr(owner, name, timed)

    async def of(self, stage: str, work: Awaitable[None]) -> None:
        """Time a wait; what the client's own tasks do meanwhile belongs to it."""
        self._enter(stage)
        try:
            await work
        finally:
            self._leave()

    def _enter(self, stage: str) -> None:
        self._note()
        self._running.append(stage)

    def _leave(self) -> None:
        self._note()
        self._running.pop()

    def _note(self) -> None:
        now = time.process_time()
        if self._running:
            self.spent[self._running[-1]] += now - self._since
        self._since = now


async def profile(
    app: App, stream: Stream, settings: ClientSettings, topics: Mapping[str, TopicInfo], batches: Sequence[WireBatch]
) -> Mapping[str, float]:
    """Fold and commit the batches, a transaction each, and return the CPU seconds of each stage."""
    watch = Stopwatch()
    source = topics[stream.topic]
    partitions: dict[int, tuple[Partition, Committer]] = {}
    for number in sorted({batch.partition for batch in batches}):
        tp = TopicPartition(stream.topic, number)
        limits = {name: info.max_message_bytes for name, info in topics.items()}
        committer = Committer(settings, app.group, tp, Deadlines(), limits)
        await committer.fence()
        partition = Partition(app, stream, number, source.partitions)
        partition.resume(0, _identity(app, topics, source, committer, number))
        _time_parts(watch, partition)
        partitions[number] = partition, committer
    try:
        for batch in batches:
            partition, committer = partitions[batch.partition]
            partition.fold(batch)
            cut = partition.cut()
            await watch.of("commit", committer.begin())
            await watch.of("append", committer.write(cut))
            await watch.of("commit", _finish(committer, cut))
    finally:
        for _, committer in partitions.values():
            await committer.close()
    return watch.spent


async def _finish(committer: Committer, cut: Any) -> None:
    await committer.acknowledge()
    await committer.add_offset(cut)
    await committer.end()


def _time_parts(watch: Stopwatch, partition: Partition) -> None:
    watch.around(partition, "cut", "cut")
    watch.around(partition, "fold", "decode")
    for table in partition.tables.values():
        watch.around(table, "fold", "encode")
        watch.around(table.state, "fold", "fold")
        watch.around(table.state, "rows", "key")


def _identity(
    app: App, topics: Mapping[str, TopicInfo], source: TopicInfo, committer: Committer, number: int
) -> Identity:
    changelogs = {table.name: topics[app.changelog(table)].topic_id for table in app.tables.values()}
    letters = topics[app.dead_letters]
    return Identity(
        committer.transactional_id, source.topic_id, changelogs, number % letters.partitions, letters.max_message_bytes
    )
