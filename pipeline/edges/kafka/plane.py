"""The data plane of one worker: a member of the consumer group that owns a task for each partition it is assigned.

Start it, ``run`` it until it is stopped or crashes, ``stop`` it. Everything below it reports failures here: what can be
mended is mended by the tasks, anything else ends the worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
)

from pipeline.core.config.model import App
from pipeline.core.config.repartition import rewritten
from pipeline.core.partition import Partition
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.backoff import Backoff
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import EVENTS_A_DRAIN, ColumnarConsumer
from pipeline.edges.kafka.errors import PartitionError, Unreachable
from pipeline.edges.kafka.phase import Phase
from pipeline.edges.kafka.purge import purge
from pipeline.edges.kafka.task import Task
from pipeline.edges.kafka.topics import prepare
from pipeline.edges.kafka.watch import Watch
from pipeline.edges.kafka.world import Listener, World
from pipeline.edges.metrics import Metrics
from pipeline.errors import KafkaStateError

log = logging.getLogger(__name__)

T = TypeVar("T")

_REFUSALS = {
    InvalidSessionTimeoutError: "set session_timeout between the broker's group.min and group.max.session.timeout.ms",
    GroupAuthorizationFailedError: "grant Read on the group",
    InconsistentGroupProtocolError: "another kind of consumer uses this group: give the app another name",
}

_IDLE_SECONDS = 0.1
_HELD_SECONDS = 0.01
_LOOP_TURNS = 10
"""Before a fold. A commit takes some twenty turns, and is to get on while batch after batch is there to fold."""

_LEAST_TURNS = 4
"""Before the fold of as many events as are drained at once: where more wait behind them, folding comes first."""

_AGAIN_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
STOP_SECONDS = 9.0


class Plane:
    """One worker's share of the app. ``listeners`` are told of each commit; add to them and take away at any time.

    ``lulls`` are called when a commit has just begun to wait for the broker, and when there is none any more.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app = rewritten(app)
        self.metrics = metrics
        self.tasks: dict[TopicPartition, Task] = {}
        self.listeners: list[Listener] = []
        self.lulls: list[Callable[[], None]] = []
        self.settings = ClientSettings.of(app)
        self.world: World | None = None
        self.watch: Watch | None = None
        self._consumer: ColumnarConsumer | None = None
        self._crashed: asyncio.Future[None] | None = None
        self._stopping = asyncio.Event()
        self._runs: asyncio.Task[None] | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._failing_since: dict[TopicPartition, float] = {}
        self._retries = Backoff(_AGAIN_SECONDS, _LONGEST_PAUSE_SECONDS)

    @property
    def committing(self) -> bool:
        """Whether a commit of any partition is made ready or under way."""
        turn = self.world is not None and self.world.committing
        return turn or any(task.committing for task in self.tasks.values())

    async def start(self) -> None:
        """Find the broker, see that the topics are as they should be, join the group.

        Raises:
            KafkaStateError: no broker within ``start_timeout``, or a topic that can't be used.
        """
        self._crashed = asyncio.get_running_loop().create_future()
        admin = Admin(self.settings, self.app.start_timeout)
        deadline = time.monotonic() + self.app.start_timeout
        try:
            topics = await self._reached(lambda: asyncio.to_thread(prepare, admin, self.app), deadline)
        except Exception:
            await asyncio.to_thread(admin.close)
            raise
        self._consumer = ColumnarConsumer.member(self.settings, self.app)
        self.world = World(
            self.app,
            settings=self.settings,
            consumer=self._consumer,
            admin=admin,
            topics=topics,
            metrics=self.metrics,
            siblings=self.siblings,
            listeners=self.listeners,
            lulls=self.lulls,
            crash=self.crash,
        )
        self.watch = Watch(self)
        await self._reached(self._consumer.start, deadline)
        sources = [stream.topic for stream in self.app.streams.values() if self.app.tables_of(stream)]
        self._consumer.subscribe(sources, listener=_Listener(self))
        self._runs = self.world.spawn(self._drain(), "drain")
        self._watches = [
            self.world.spawn(self.watch.run(), "watch"),
            self.world.spawn(self.watch.identify(), "identify topics"),
            self.world.spawn(self.watch.show(), "show listed keys"),
            self.world.spawn(purge(self), "purge"),
        ]

    async def _reached(self, attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
        """What an attempt gives; a broker that goes away while it is made is waited for."""
        while True:
            try:
                return await attempt()
            except (Unreachable, KafkaConnectionError) as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("the broker went away during the start: %s; trying again", error)
                await asyncio.sleep(self._retries.failed())

    async def run(self) -> None:
        """Until :meth:`stop`; raises what crashed the worker."""
        assert self._crashed is not None
        await asyncio.shield(self._crashed)

    async def stop(self) -> None:
        """Stop draining, commit what is folded, close the producers, leave the group; nine seconds in all."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        for watch in self._watches:
            watch.cancel()
        if self._runs is not None:
            await asyncio.wait([self._runs], timeout=2)
        await asyncio.gather(*(task.park() for task in self.tasks.values()))
        await asyncio.gather(*(task.close() for task in self.tasks.values()), *self._closing)
        self.tasks.clear()
        if self._consumer is not None:
            await self._consumer.shutdown(max(0.5, min(3.0, deadline - time.monotonic())))
        if self.world is not None:
            await self.world.close()
        if self._crashed is not None and not self._crashed.done():
            self._crashed.set_result(None)

    def crash(self, error: BaseException) -> None:
        """The worker can't go on."""
        if self._crashed is not None and not self._crashed.done() and not self._stopping.is_set():
            self._crashed.set_exception(error)

    @property
    def consumer(self) -> ColumnarConsumer:
        """The member of the group; there is one from :meth:`start` on."""
        assert self._consumer is not None, "the plane is not started"
        return self._consumer

    def siblings(self, tp: TopicPartition) -> list[Partition]:
        """The states of the other partitions of a source topic that are in this worker."""
        return [
            task.partition
            for other, task in self.tasks.items()
            if other.topic == tp.topic and other != tp and task.partition is not None
        ]

    # The group's callbacks

    async def revoke(self, revoked: Iterable[TopicPartition]) -> None:
        """Park the tasks of these partitions, within a bound."""
        await asyncio.gather(*(self.tasks[tp].park() for tp in revoked if tp in self.tasks))

    def assign(self, assigned: Iterable[TopicPartition]) -> None:
        """These partitions are ours now, and no others. Returns at once; a worker that stops takes none."""
        if self._stopping.is_set():
            return
        assert self.world is not None
        assert self.watch is not None
        self.metrics.rebalanced()
        self.watch.assigned()
        ours = set(assigned)
        assignment = self.consumer.current_assignment()
        for tp in [tp for tp in self.tasks if tp not in ours]:
            closing = self.world.spawn(self.tasks.pop(tp).close(), f"close {tp.topic}-{tp.partition}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            stream = self.world.stream_of(tp.topic)
            self.metrics.forget(tp, stream.name, [table.name for table in self.app.tables_of(stream)])
        for tp in ours:
            self.consumer.pause(tp)
            task = self.tasks.get(tp)
            if task is None or task.phase is Phase.CLOSED:
                task = self.tasks[tp] = Task(self.world, tp)
            task.assign(assignment)

    # The event's path: drain -> fold (-> commit, by the task)

    async def _drain(self) -> None:
        while not self._stopping.is_set():
            ready = {tp: task for tp, task in self.tasks.items() if task.ready}
            wanted = {tp for tp, task in ready.items() if not task.full}
            patience = _IDLE_SECONDS if len(wanted) == len(ready) == len(self.tasks) else _HELD_SECONDS
            try:
                drained = await self.consumer.drain(wanted, limit=EVENTS_A_DRAIN, timeout=patience)
            except PartitionError as error:
                await self._partition_failed(error)
                continue
            except tuple(_REFUSALS) as error:
                raise KafkaStateError(
                    f"the broker does not take this worker into the group {self.app.group}: {error}",
                    _REFUSALS[type(error)],
                ) from error
            except KafkaError as error:
                log.warning("the consumer reports %r; going on", error)
                await asyncio.sleep(self._retries.failed())
                continue
            if not self._failing_since:
                self._retries.succeeded()
            for batch in drained:
                self._failing_since.pop(batch.tp, None)
                if (task := self.tasks.get(batch.tp)) is not None:
                    task.enqueue(batch)
            for batch in drained:
                await _turns(len(batch.batch))
                if (task := self.tasks.get(batch.tp)) is not None:
                    await task.fold()

    async def _partition_failed(self, failure: PartitionError) -> None:
        """A lasting fault ends the worker; any other may last as long as a broker may be away."""
        if failure.lasting:
            raise KafkaStateError(failure.cause, failure.mend) from failure
        since = self._failing_since.setdefault(failure.tp, time.monotonic())
        if time.monotonic() - since > self.app.broker_timeout:
            raise KafkaStateError(failure.cause, "see the broker's log for this partition") from failure
        log.warning("%s; fetching again", failure)
        await asyncio.sleep(self._retries.failed())


async def _turns(events: int) -> None:
    """Let the loop get on before so many are folded: the next fetch is asked for meanwhile, commits move."""
    for _ in range(_LOOP_TURNS if events < EVENTS_A_DRAIN else _LEAST_TURNS):
        await asyncio.sleep(0)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka logs and forgets what a callback raises: here it ends the worker."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            await self._plane.revoke(revoked)
        except Exception as error:
            self._plane.crash(error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            self._plane.assign(assigned)
        except Exception as error:
            self._plane.crash(error)
