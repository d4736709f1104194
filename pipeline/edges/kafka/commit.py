"""The commit: one Kafka transaction carries state, outputs, dead letters and the source offset together.

The steps, one method each (step 1, the cut, is the task's: it needs the state):

2. ``begin`` the transaction on the task's own producer;
3. ``write`` the cut: changelog rows and pages, meta records, outputs, dead letters, and announce all of it first;
4. ``acknowledge``: every write is acknowledged, or nothing is committed;
5. ``add_offset``: the source offset joins the transaction;
6. ``end``: commit. In doubt, the next owner's fence settles it (see :mod:`pipeline.edges.kafka.task`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiokafka import TopicPartition

from pipeline.core.partition import Cut
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.producer import Deadlines, TransactionalProducer
from pipeline.edges.kafka.sending import nothing

OWN = "streamfold"
"""Stands beside every offset that is committed here, as its metadata; not beside one that someone moved."""


def transactional_id(app: str, tp: TopicPartition) -> str:
    """Of the task that owns a source partition. Frozen: changing it would take away the fence between versions."""
    return f"streamfold/{app}/{tp.topic}/{tp.partition}"


class Committer:
    """Commits the cuts of one task through a producer that only the newest owner of the partition can use."""

    def __init__(
        self,
        settings: ClientSettings,
        group: str,
        tp: TopicPartition,
        deadlines: Deadlines,
        limits: Mapping[str, int],
        *,
        lull: Callable[[], None] = nothing,
    ) -> None:
        """``lull`` is called when a commit does nothing for a while but wait for the broker; it may not raise."""
        self.transactional_id = transactional_id(group, tp)
        self._settings = settings
        self._group = group
        self._tp = tp
        self._deadlines = deadlines
        self._limits = limits
        self._lull = lull
        self._producer: TransactionalProducer | None = None

    async def fence(self) -> None:
        """Take the partition over: whoever owned it can't commit any more, and its open transaction is finished."""
        await self.close()
        self._producer = await TransactionalProducer.fence(
            self._settings, self.transactional_id, self._deadlines, self._limits, lull=self._lull
        )

    async def prove_fence(self) -> None:
        """See that nobody has taken the partition over since: begin a transaction, and abort it.

        Whoever slept past its session does not know that it has lost the partition; the broker does. Needs a new fence
        afterwards.

        Raises:
            Fenced, Failed: someone has, or it can't be known.
        """
        await self.begin()
        await self.producer.add_offset(self._tp, 0, self._group, OWN)
        await self.abandon()

    async def commit(self, cut: Cut) -> None:
        """Steps 2 to 6. Not while it `must_renew`.

        Raises:
            Fenced, Failed: the transaction did not go through.
            InDoubt: it may have.
        """
        await self.begin()
        await self.write(cut)
        await self.acknowledge()
        await self.add_offset(cut)
        await self.end()

    @property
    def must_renew(self) -> bool:
        """Whether the next commit needs a new fence; as that stops a newer owner too, ask then what is committed."""
        return self.producer.must_renew

    async def begin(self) -> None:
        """Step 2."""
        await self.producer.begin()

    async def write(self, cut: Cut) -> None:
        """Step 3. The broker hears what will be written while the records are made; the offset it gets in step 5."""
        partitions = [TopicPartition(append.topic, append.partition) for append in cut.appends]
        await self.producer.announce(partitions, self._group)
        for append in cut.appends:
            await self.producer.append(
                append.topic, append.partition, append.keys, append.values, append.headers or None
            )

    async def acknowledge(self) -> None:
        """Step 4."""
        await self.producer.acknowledge()

    async def add_offset(self, cut: Cut) -> None:
        """Step 5."""
        await self.producer.add_offset(self._tp, cut.next_offset, self._group, OWN)

    async def end(self) -> None:
        """Step 6."""
        await self.producer.commit()

    async def abandon(self) -> None:
        """Abort what is open, so that readers are not held up, and close."""
        if self._producer is not None:
            await self._producer.abort()
        await self.close()

    async def close(self) -> None:
        """Close the producer, within a bound."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    @property
    def producer(self) -> TransactionalProducer:
        """The producer of the current fence."""
        assert self._producer is not None, "fence() comes first"
        return self._producer
