"""What the tasks of one worker share: the configuration, the consumer, the topics, a thread to fold in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, ParamSpec, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pipeline.core.config.model import App, Stream
from pipeline.core.partition import Cut, Partition
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, Unreachable
from pipeline.edges.kafka.producer import Deadlines
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.edges.metrics import Metrics
from pipeline.errors import RunError

RESTORES_AT_ONCE = 4

TURN_SECONDS = 0.25
"""For which a commit waits at most for those before it: one that hangs holds up no other partition for longer."""

Listener = Callable[[TopicPartition, Cut], None]
"""Is told of each cut that went through; it may raise nothing, and is as quick as a commit has to be."""

P = ParamSpec("P")
T = TypeVar("T")


class World:
    """Made by the plane, handed to every task."""

    def __init__(
        self,
        app: App,
        *,
        settings: ClientSettings,
        consumer: ColumnarConsumer,
        admin: Admin,
        topics: Mapping[str, TopicInfo],
        metrics: Metrics,
        siblings: Callable[[TopicPartition], Sequence[Partition]],
        listeners: Collection[Listener],
        lulls: Collection[Callable[[], None]],
        crash: Callable[[BaseException], None],
    ) -> None:
        self.app = app
        self.settings = settings
        self.consumer = consumer
        self.admin = admin
        self.topics = dict(topics)
        self.metrics = metrics
        self.siblings = siblings
        self.listeners = listeners
        self._lulls = lulls
        self.deadlines = Deadlines()
        self.limits = {name: info.max_message_bytes for name, info in topics.items()}
        self.restores = asyncio.Semaphore(RESTORES_AT_ONCE)
        self._committing = asyncio.Lock()
        self._crash = crash
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fold")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="admin")
        self._streams = {stream.topic: stream for stream in app.streams.values()}

    def stream_of(self, topic: str) -> Stream:
        """The stream that reads a source topic."""
        return self._streams[topic]

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do CPU work beside the event loop, one piece at a time: a slow operator must not stop the heartbeats."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    @asynccontextmanager
    async def commit_turn(self) -> AsyncIterator[None]:
        """Have commits follow each other, unless that is a long wait.

        Several under way at a time each take longer, for they go over one event loop, and so does the fold between
        their steps. Who waits takes along what is folded meanwhile: of a busy loop commits ask for no more than it has.
        """
        ours = False
        with suppress(TimeoutError):
            async with asyncio.timeout(TURN_SECONDS):
                ours = await self._committing.acquire()
        try:
            yield
        finally:
            if ours:
                self._committing.release()
                asyncio.get_running_loop().call_soon(self._turn_over)

    @property
    def committing(self) -> bool:
        """Whether a commit has its turn: to be made ready, or under way."""
        return self._committing.locked()

    def lull(self) -> None:
        """Tell those who want to know: a commit waits for the broker now, or there is none."""
        for lull in self._lulls:
            lull()

    def _turn_over(self) -> None:
        if not self.committing:  # else the next one has its turn
            self.lull()

    async def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the blocking admin client; its calls take turns.

        Raises:
            Unreachable: it did not answer in time, or the broker did not.
        """
        patience = self.app.broker_timeout
        try:
            async with asyncio.timeout(patience):
                return await asyncio.get_running_loop().run_in_executor(self._asking, lambda: question(*args, **kwargs))
        except TimeoutError as error:
            what = f"the broker at {self.settings.bootstrap_servers} was asked something and did not answer"
            raise Unreachable(f"{what} within {patience:g} s", "see that it is up and reachable") from error

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start background work whose failure ends the worker."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._done)
        return task

    async def commit_of(self, tp: TopicPartition) -> OffsetAndMetadata | None:
        """The group's committed offset of a source partition and its metadata; None if there is none.

        Raises:
            Failed: the broker did not answer in time.
        """
        try:
            async with asyncio.timeout(self.deadlines.request):
                return await self.consumer.commit_of(tp)
        except (KafkaError, TimeoutError, OSError) as error:
            raise Failed(f"the committed offset of {tp.topic}-{tp.partition} can't be read: {error!r}") from error

    async def committed(self, tp: TopicPartition) -> int | None:
        """The group's committed offset alone."""
        found = await self.commit_of(tp)
        return None if found is None else found.offset

    async def close(self) -> None:
        """Let the threads go, and the administrator unless a call of its hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._asking.shutdown(wait=False, cancel_futures=True)
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(self.admin.close))], timeout=self.deadlines.close)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if not task.cancelling():
                cause = f"a client of the broker ended what waited for it: {task.get_name()}"
                self._crash(RunError(cause, "start the worker again"))
        elif (error := task.exception()) is not None:
            self._crash(error)


def asked_to_end() -> bool:
    """Whether the task that runs was cancelled itself, and not only what it waits for: clients do that to their own."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
