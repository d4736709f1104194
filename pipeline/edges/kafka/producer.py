"""The transactions of one task: columns into record batches, and no wait without an end.

aiokafka retries every transactional request for ever, lets a transaction commit whose batches failed, and repeats a
commit whose answer was lost. This module puts the bounds, the check and the count around it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import TransactionState
from aiokafka.structs import OffsetAndMetadata

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Failed, Fenced, InDoubt, RecordTooLarge, TransactionError
from pipeline.edges.kafka.sending import Producer, nothing, see

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes | None]]

BATCH_BYTES = 512 * 1024

_FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping)
_FAILURES = (KafkaError, TimeoutError, OSError, AssertionError, IllegalOperation)
"""What aiokafka raises if a step can't be done. It asserts that it knows a node, but a broker that is only just
starting names none; and what it says of a transaction that failed between two steps is no `KafkaError`."""

FORBIDDEN: Mapping[type, str] = {
    TopicAuthorizationFailedError: "grant Write on the changelogs, the outputs and the dead letters",
    GroupAuthorizationFailedError: "grant Read on the consumer group, which bears the app's name",
    TransactionalIdAuthorizationFailed: "grant Write on the transactional ids that begin with streamfold/<app>/",
}


@dataclass(frozen=True)
class Deadlines:
    """Bounds in seconds. ``request`` < ``commit`` < ``transaction``: a commit is given up before the broker does it.

    ``commit`` bounds a whole transaction, from begin to commit, and also the fence; ``transaction`` is what the broker
    grants before it aborts by itself.
    """

    request: float = 5.0
    commit: float = 10.0
    transaction: float = 30.0
    abort: float = 2.0
    close: float = 1.0


class TransactionalProducer:
    """A fenced producer: begin, announce, append, acknowledge, add_offset, commit; and again while not `must_renew`.

    Made by `fence`. One coroutine at a time. After any error: `abort`, `close`, and fence a new one.
    """

    def __init__(self, producer: Producer, deadlines: Deadlines, limits: Mapping[str, int]) -> None:
        self._producer = producer
        self._deadlines = deadlines
        self._limits = limits
        self._deadline = 0.0
        self._acks: list[tuple[str, asyncio.Future[Any]]] = []
        self._trouble: TransactionError | None = None
        self._clean = True

    @classmethod
    async def fence(
        cls,
        settings: ClientSettings,
        transactional_id: str,
        deadlines: Deadlines | None = None,
        limits: Mapping[str, int] | None = None,
        *,
        lull: Callable[[], None] = nothing,
    ) -> TransactionalProducer:
        """Take the transactional id over: its previous producer can write no more, its open transaction is finished.

        ``limits`` are the max.message.bytes of topics, by name: no larger batch is made for them. ``lull`` is called
        when a transaction does nothing for a while but wait for the broker; it may not raise.

        Raises `Failed` (`Fenced` if another took the id at the same moment).
        """
        deadlines = deadlines or Deadlines()
        self = cls(_producer(settings, transactional_id, deadlines, lull), deadlines, limits or {})
        self._deadline = time.monotonic() + deadlines.commit
        try:
            async with self._bounded(f"fencing {transactional_id}"):
                await self._producer.start()
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def must_renew(self) -> bool:
        """Whether a new producer has to be fenced before the next transaction.

        So it is after anything but a commit that took exactly one request: a repeated one may still be on its way and
        would end the next transaction of the same epoch.
        """
        return not self._clean

    async def begin(self) -> None:
        """Begin a transaction; everything up to its commit has to be done by the commit deadline."""
        if not self._clean:
            raise Failed("this producer must be renewed before it begins another transaction")
        self._clean = False
        self._deadline = time.monotonic() + self._deadlines.commit
        async with self._bounded("begin"):
            self._require(TransactionState.READY)
            self._producer.transactions.begin_transaction()

    async def announce(self, partitions: Collection[TopicPartition], group: str) -> None:
        """Say what the transaction will write and whose offset it moves, so that the broker hears of all of it at once.

        It does so while the records are still being made. Unannounced, each partition waits for the one before, and the
        group for all of them. Raises `Failed` if there is no such partition.
        """
        async with self._bounded("announcing what is written"):
            self._require(TransactionState.IN_TRANSACTION)
            for tp in partitions:
                await self._find(tp)
            self._producer.transactions.announce(partitions, group)

    async def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Iterable[Headers] | None = None,
    ) -> None:
        """Append records, in order, stamped with the wall clock. Returns when they are queued: see `acknowledge`.

        Raises `RecordTooLarge` for a record over the topic's limit, `Failed` or `Fenced`.
        """
        async with self._bounded(f"writing to {topic}"):
            self._require(TransactionState.IN_TRANSACTION)
            await self._find(TopicPartition(topic, partition))
            for batch in self._batches(topic, keys, values, headers):
                ack = await self._producer.send_batch(batch, topic, partition=partition)
                self._acks.append((topic, ack))
                self._producer.see_drains()
                # A batch of small records takes several milliseconds to build, and heartbeats go over the same loop.
                await asyncio.sleep(0)

    async def acknowledge(self) -> None:
        """Wait until the broker has everything that was appended. One refused batch fails the transaction."""
        async with self._bounded("waiting for acknowledgements"):
            if self._acks:
                await asyncio.wait([ack for _, ack in self._acks])
            acks, self._acks = self._acks, []
            errors = [(topic, ack.exception()) for topic, ack in acks]
            for topic, error in errors:
                if isinstance(error, MessageSizeTooLargeError):
                    raise RecordTooLarge(topic) from error
                if error is not None:
                    raise error
            self._require(TransactionState.IN_TRANSACTION)

    async def add_offset(self, tp: TopicPartition, offset: int, group: str, metadata: str = "") -> None:
        """Make the group's committed offset of a source partition part of the transaction."""
        async with self._bounded("adding the source offset"):
            self._require_acknowledged()
            await self._producer.send_offsets_to_transaction({tp: OffsetAndMetadata(offset, metadata)}, group)

    async def commit(self) -> None:
        """Commit. Raises `InDoubt` if the outcome is unknown, `Failed` or `Fenced` if nothing was committed."""
        async with self._bounded("committing"):
            self._require_acknowledged()
            self._require(TransactionState.IN_TRANSACTION)
        sender = self._producer.sender
        sender.ends = 0
        try:
            async with self._bounded("committing"):
                await self._producer.commit_transaction()
        except TransactionError as error:
            # One request, answered with "fenced": it was refused. Of several, an earlier one may have been taken.
            if isinstance(error, Fenced) and sender.ends == 1:
                raise
            raise InDoubt(str(error)) from error
        self._clean = sender.ends == 1

    async def abort(self) -> bool:
        """End an open transaction, so that it holds up no reader; whether that was achieved within its bound."""
        self._forget()
        self._clean = False
        producer = self._producer
        if producer._closed or producer.transactions.state not in (
            TransactionState.IN_TRANSACTION,
            TransactionState.ABORTABLE_ERROR,
        ):
            return False
        try:
            async with asyncio.timeout(self._deadlines.abort):
                await producer.abort_transaction()
        except (KafkaError, TimeoutError) as error:
            log.warning("the transaction of %s was not aborted: %r", producer.transactions.transactional_id, error)
            return False
        return True

    async def close(self) -> None:
        """Close hard, within twice the close deadline; an open transaction is left to the next owner's fence."""
        self._forget()
        self._clean = False
        self._trouble = self._trouble or Failed("it was closed")
        await self._producer.close(self._deadlines.close)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _find(self, tp: TopicPartition) -> None:
        if tp.partition not in await self._producer.client._wait_on_metadata(tp.topic):
            mend = f"see how {tp.topic} was made"
            raise Failed(f"{tp.topic} has no partition {tp.partition}", lasting=True, mend=mend)

    def _batches(
        self,
        topic: str,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Iterable[Headers] | None,
    ) -> Iterator[BatchBuilder]:
        limit = self._limits.get(topic)
        size = BATCH_BYTES if limit is None else min(BATCH_BYTES, limit)
        batch, count, now, end = _new_batch(size), 0, int(time.time() * 1000), 0
        append = batch._builder.append
        extras = repeat([], len(keys)) if headers is None else headers
        for key, value, extra in zip(keys, values, extras, strict=True):
            if append(count, now, key, value, extra) is None:
                end += count
                yield _sealed(batch, count, topic, end, limit)
                batch, count, now = _new_batch(size), 0, int(time.time() * 1000)
                append = batch._builder.append
                append(0, now, key, value, extra)
            count += 1
        if count:
            yield _sealed(batch, count, topic, end + count, limit)

    def _require(self, state: TransactionState) -> None:
        found = self._producer.transactions.state
        if found is not state:
            raise KafkaError(f"the producer is {found.name}, not {state.name}") from self._producer.failure

    def _require_acknowledged(self) -> None:
        """Nothing else keeps aiokafka from committing a transaction some of whose batches were refused."""
        if self._acks:
            raise Failed(f"{len(self._acks)} batches are not acknowledged")

    def _forget(self) -> None:
        for _, ack in self._acks:
            ack.cancel()
            see(ack)
        self._acks = []

    @asynccontextmanager
    async def _bounded(self, what: str) -> AsyncIterator[None]:
        """Bound what is done inside by the deadline, and turn its errors into ours. After one, nothing more is done."""
        if self._trouble is not None:
            raise Failed(f"{what}: this producer failed before: {self._trouble}")
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                yield
        except TransactionError as error:
            self._trouble = error
            raise
        except _FAILURES as error:
            self._trouble = self._verdict(what, error)
            raise self._trouble from error

    def _verdict(self, what: str, error: BaseException) -> Failed:
        # The sender dies of a fatal error and hands everyone else a copy that has lost its cause.
        for candidate in (error, error.__cause__, self._producer.failure):
            if isinstance(candidate, _FENCED):
                return Fenced(f"{what}: {candidate!r}")
            if (mend := FORBIDDEN.get(type(candidate))) is not None:
                return Failed(f"{what}: this user may not do that: {candidate}", lasting=True, mend=mend)
        if isinstance(error, TimeoutError):
            return Failed(f"{what}: not done within {self._deadlines.commit:g} s")
        return Failed(f"{what}: {error!r}")


def _producer(settings: ClientSettings, transactional_id: str, bounds: Deadlines, lull: Callable[[], None]) -> Producer:
    return Producer(
        settings,
        transactional_id,
        batch_bytes=BATCH_BYTES,
        request=bounds.request,
        transaction=bounds.transaction,
        lull=lull,
    )


def _new_batch(size: int) -> BatchBuilder:
    return BatchBuilder(size, 0, is_transactional=True)


def _sealed(batch: BatchBuilder, count: int, topic: str, end: int, limit: int | None) -> BatchBuilder:
    # A builder takes its first record whatever its size, and nothing after one that is too large.
    if limit is not None and batch.size() > limit:
        raise RecordTooLarge(topic, end - 1, batch.size(), limit)
    batch._relative_offset = count
    batch.close()
    return batch
