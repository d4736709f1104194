"""Kafka's wire batches as columns.

aiokafka keeps what it fetched as unparsed wire batches; taking those whole, instead of one object per record, is three
times as fast. Only this module and :mod:`pipeline.edges.kafka.wire` know where aiokafka keeps them; its version is
pinned and a test names every private name used.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaConnectionError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from pipeline.core.batch import WireBatch
from pipeline.edges.kafka.assignor import Assignor
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import PartitionError
from pipeline.edges.kafka.wire import HoleError, RecordColumns, is_data
from pipeline.errors import RunError

if TYPE_CHECKING:
    from pipeline.core.config.model import App

log = logging.getLogger(__name__)

_ABANDON_SECONDS = 1.0

_LASTING: dict[type[BaseException], str] = {
    OffsetOutOfRangeError: "retention passed the reader, or the topic is a new one: `streamfold reset FILE`",
    NoOffsetForPartitionError: "nothing says where to start: `streamfold reset FILE`",
    TopicAuthorizationFailedError: "allow this user to read the topic",
    RecordTooLargeError: "a record is larger than a fetch may be: lower the topic's max.message.bytes",
}


_JOIN_MARGIN_MS = 10_000

FETCH_BYTES = 2 * 1024 * 1024
"""What is fetched of a partition at once. What arrives is copied some times on its way to columns, and four restores
run at once: with 8 MiB, a long changelog left a worker with 100 MiB more than it uses, in pieces; no faster for it."""

EVENTS_A_DRAIN = 20_000
"""Of one partition: they are folded together, which is to take no longer than a step of the loop may."""


@dataclass(frozen=True)
class Drained:
    """What one drain took from one partition, and the assignment it was fetched under.

    A rebalance makes a new assignment, also for partitions that stay: a batch of an old one must be dropped.
    """

    tp: TopicPartition
    batch: WireBatch
    assignment: object


@dataclass(frozen=True)
class Watermarks:
    """Where the last fetch saw a partition's end: the last stable offset and the high watermark (records)."""

    stable: int
    high: int


class _Fetched(OrderedDict[TopicPartition, Any]):
    """What was fetched and not yet taken, in memory that is free as soon as nobody needs it.

    aiokafka's results hold an iterator that holds them; only reading it to its end lets go of both, and nobody does
    here. Python's collector of such cycles goes by the number of objects: the few that hold all bytes of a fetch would
    be gigabytes before it looks for them.
    """

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if isinstance(result, FetchResult):
            result._partition_records._records_iterator = None
        super().__setitem__(tp, result)


class ColumnarConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose records come as columns. Read by `drain` only; the reading calls of aiokafka are not for use."""

    def __init__(self, settings: ClientSettings, *, request_timeout_ms: int = 5_000, **arguments: Any) -> None:
        """Reads committed records and never resets a position by itself; ``arguments`` are aiokafka's own."""
        super().__init__(
            **settings.for_aiokafka(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            request_timeout_ms=request_timeout_ms,
            **arguments,
        )
        self._failures: list[tuple[object, PartitionError]] = []
        self._damaged: dict[TopicPartition, int] = {}
        self._with_holes: set[TopicPartition] = set()

    @classmethod
    def member(cls, settings: ClientSettings, app: App) -> ColumnarConsumer:
        """A member of the app's consumer group; `subscribe` it. Partitions stay where they are as far as possible."""
        session_ms = int(app.session_timeout * 1000)
        return cls(
            settings,
            group_id=app.name,
            partition_assignment_strategy=(Assignor.own(),),
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 5,
            rebalance_timeout_ms=60_000,
            # A join is answered when the slowest member has joined, or a dead one's session is over. Giving up sooner
            # leaves a member behind that nobody is, for which the next join waits.
            request_timeout_ms=session_ms + _JOIN_MARGIN_MS,
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=FETCH_BYTES,
        )

    @classmethod
    def reader(cls, settings: ClientSettings) -> ColumnarConsumer:
        """A consumer without a group, for reading a log from end to end; `assign` it."""
        return cls(settings, fetch_max_wait_ms=50, max_partition_fetch_bytes=FETCH_BYTES)

    async def start(self) -> None:
        """Connect; may be tried again.

        Raises:
            KafkaConnectionError: no broker answers, or one that is only just starting and names none. What aiokafka
                does in the background ends for good if it finds none to ask.
        """
        await self._client.bootstrap()
        if self._client.get_random_node() is None:
            await self._disconnect()
            raise KafkaConnectionError("the broker is starting: it names no broker yet")
        await super().start()
        self._fetcher._records = _Fetched()

    async def drain(self, wanted: Container[TopicPartition], *, limit: int, timeout: float) -> list[Drained]:
        """Take what was fetched of the ``wanted`` partitions, waiting up to ``timeout`` seconds for the first of it.

        Whole wire batches are taken until a partition has given at least ``limit`` records. What belongs to other
        partitions stays where it is. There is no await between taking rows and returning them, so none can be lost.

        Raises:
            PartitionError: one partition failed; what the others gave was returned before.
            KafkaError: what the group's coordinator met. The member lives on.
            RunError: fetching or the membership ended for good.
        """
        deadline = self._loop.time() + timeout
        while True:
            self._check()
            # aiokafka leaves the group of a consumer that is not read from; entering is what tells it, and nothing
            # may be raised inside, because it has no `finally`.
            with self._subscription.fetch_context():
                pass
            if taken := self.take(wanted, limit=limit):
                return taken
            self._raise_failure(wanted)
            remaining = deadline - self._loop.time()
            if remaining <= 0:
                return []
            await self._wait(remaining)

    def take(self, wanted: Container[TopicPartition], *, limit: int) -> list[Drained]:
        """Take what is there already, as `drain` does; what has failed, the next drain tells."""
        return [] if self._subscription.reassignment_in_progress else self._take(wanted, limit)

    def current_assignment(self) -> object | None:
        """The assignment in force, or None between two of them. Compare by identity."""
        subscription = self._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return assignment if assignment is not None and assignment.active else None

    def seek_and_resume(self, tp: TopicPartition, offset: int, assignment: object) -> bool:
        """Read ``tp`` from ``offset`` on, in one step of the loop; False if ``assignment`` is no longer in force."""
        if assignment is not self.current_assignment() or not self._subscription.is_assigned(tp):
            return False
        self._fetcher.seek_to(tp, offset)
        self._subscription.resume(tp)
        return True

    def watermarks(self, tp: TopicPartition) -> Watermarks | None:
        """The end of ``tp`` as the last fetch saw it; None if it is not assigned or was not fetched yet."""
        state = self._state(tp)
        if state is None or state.highwater is None:
            return None
        return Watermarks(state.highwater if state.lso is None else state.lso, state.highwater)

    def fetch_position(self, tp: TopicPartition) -> int | None:
        """The offset that the next drain starts at; None if ``tp`` is not assigned or was never sought."""
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else None

    async def commit_of(self, tp: TopicPartition) -> OffsetAndMetadata | None:
        """The group's committed offset of a partition and its metadata, as its coordinator says now."""
        found: dict[TopicPartition, OffsetAndMetadata] = await self._coordinator.fetch_committed_offsets([tp])
        return found.get(tp)

    async def shutdown(self, timeout: float = 3.0) -> None:
        """Leave the group and close, within ``timeout`` seconds or little more.

        aiokafka's own `stop` waits for a pending join of the group, which lasts as long as its slowest member. Past the
        bound the connections are closed, and the broker notices by the session time-out.
        """
        stopping = asyncio.ensure_future(self.stop())
        await asyncio.wait([stopping], timeout=timeout)
        if not stopping.done():
            await self._abandon(stopping)
        elif (error := stopping.exception()) is not None:
            log.warning("the consumer did not leave the group in order: %r", error)
            await self._disconnect()

    # -- what was fetched ---------------------------------------------------------------------------------------------

    def _take(self, wanted: Container[TopicPartition], limit: int) -> list[Drained]:
        buffered = self._fetcher._records
        taken = []
        for tp in list(buffered):
            # A seek discards what is buffered, errors too, so those of a partition that does not run yet ("no
            # committed offset") need no care, and dropping them here would only have them fetched again at once.
            if tp not in wanted:
                continue
            result = buffered[tp]
            if isinstance(result, FetchError):
                self._fail(tp, result._error)
            elif result.check_assignment(tp) and result.has_more():
                batch = self._unpack(tp, result, limit)
                if batch.next > batch.start:
                    taken.append(Drained(tp, batch, result._assignment))
            else:
                self._release(tp)
        return taken

    def _unpack(self, tp: TopicPartition, result: Any, limit: int) -> WireBatch:
        fetched = result._partition_records
        records = fetched._records
        start = fetched.next_fetch_offset
        columns = RecordColumns()
        try:
            while records.has_next() and len(columns.keys) < limit:
                wire = records.next_batch()
                if not wire.validate_crc():
                    raise CorruptRecordException(f"wrong checksum in the batch at or after {fetched.next_fetch_offset}")
                if is_data(fetched, wire):
                    columns.append(wire, fetched.next_fetch_offset, has_holes=tp in self._with_holes)
                fetched.next_fetch_offset = wire.next_offset
        except HoleError:
            self._with_holes.add(tp)
            self._release(tp)
        except Exception as error:  # whatever a damaged batch makes the codecs raise
            self._fail(tp, error)
        else:
            if not records.has_next():
                self._release(tp)
        result._update_position()
        return WireBatch(
            tp.topic,
            tp.partition,
            start,
            fetched.next_fetch_offset,
            columns.keys,
            columns.values,
            columns.offsets(),
            columns.timestamps,
            columns.headers,
        )

    def _release(self, tp: TopicPartition) -> None:
        """Forget what is buffered of ``tp`` and let the fetch loop ask for more."""
        del self._fetcher._records[tp]
        self._fetcher._notify(self._fetcher._wait_consume_future)

    # -- what failed --------------------------------------------------------------------------------------------------

    def _fail(self, tp: TopicPartition, error: BaseException) -> None:
        self._release(tp)
        lasting, mend = isinstance(error, tuple(_LASTING)), ""
        if lasting:
            mend = next(mend for kind, mend in _LASTING.items() if isinstance(error, kind))
        else:
            # A damaged batch is fetched again; damaged in the same place, it is the log and not the way here.
            position = self.fetch_position(tp)
            lasting = position is not None and self._damaged.get(tp) == position
            self._damaged[tp] = -1 if position is None else position
            mend = "mend the partition from a replica of it"
        self._failures.append((self.current_assignment(), PartitionError(tp, error, lasting=lasting, mend=mend)))

    def _raise_failure(self, wanted: Container[TopicPartition]) -> None:
        assignment = self.current_assignment()
        while self._failures:
            under, failure = self._failures.pop(0)
            if under is assignment and failure.tp in wanted:
                raise failure

    def _check(self) -> None:
        """Raise what happened in the background; after an error the coordinator stands still until it is asked."""
        if self._closed:
            raise ConsumerStoppedError
        for task in (getattr(self._coordinator, "_coordination_task", None), self._fetcher._fetch_task):
            if task is not None and task.done():
                error = None if task.cancelled() else task.exception()
                raise RunError(f"the consumer ended by itself: {error!r}", "start the worker again") from error
        self._coordinator.check_errors()

    async def _wait(self, timeout: float) -> None:
        if self._subscription.reassignment_in_progress:
            waiter = self._subscription.wait_for_assignment()
        else:
            waiter = self._fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([waiter], timeout=timeout)
        finally:
            if not waiter.done():
                waiter.cancel()
        if not waiter.cancelled():
            waiter.result()

    def _state(self, tp: TopicPartition) -> Any:
        assignment: Any = self.current_assignment()
        return None if assignment is None else assignment.state_value(tp)

    async def _abandon(self, stopping: asyncio.Future[None]) -> None:
        names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
        running = [stopping, *(task for name in names if (task := getattr(self._coordinator, name, None)) is not None)]
        if self._fetcher is not None:
            running += [self._fetcher._fetch_task, *self._fetcher._pending_tasks]
        for task in running:
            task.cancel()
        ended, _ = await asyncio.wait(running, timeout=_ABANDON_SECONDS)
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.debug("left behind by a consumer that was closed: %r", error)
        await self._disconnect()

    async def _disconnect(self) -> None:
        """Close the connections, within a bound: whoever restores waits for it."""
        closing = asyncio.ensure_future(self._client.close())
        ended, _ = await asyncio.wait([closing], timeout=_ABANDON_SECONDS)
        if ended:
            closing.result()
        else:
            closing.cancel()
