"""One run of the demonstration, from an empty folder to nothing left behind."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import Any

from aiokafka import TopicPartition

from pipeline.core.config.load import load
from pipeline.core.config.model import App
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.demo.board import Board
from pipeline.edges.demo.check import TableCheck, check
from pipeline.edges.demo.exact import Event
from pipeline.edges.demo.feed import Feed
from pipeline.edges.demo.outputs import Outputs
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topics import make_sources, own_topics
from pipeline.edges.process import Worker
from pipeline.errors import RunError

_HOST = "127.0.0.1"
_READY_SECONDS = 60.0
_DRAIN_SECONDS = 60.0
_POLL_SECONDS = 0.1
_SCRAPE_SECONDS = 0.5


class Interrupted(BaseException):
    """Ctrl-C or TERM: end, and take everything along."""


@dataclass
class Demo:
    """``seconds`` of it, or until Ctrl-C where that is None; on the embedded Kafka unless ``broker`` names another.

    ``say`` is told what goes on before there are numbers; ``show`` is called with the board about ten times a second.
    """

    seconds: float | None
    broker: str | None
    scores: float
    seed: int
    say: Callable[[str], None]
    show: Callable[[Board], None]
    outputs: dict[str, list[Event]] = field(default_factory=dict)

    def run(self) -> list[TableCheck]:
        """Run it. Returns the comparison of the outputs with the direct computation, empty if it has no end.

        Raises:
            Interrupted: Ctrl-C or TERM.
            StreamfoldError: the broker, or the pipeline, failed.
        """
        with ExitStack() as stack:
            stack.enter_context(_interruptible())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamfold-demo-")))
            config = stack.enter_context(as_file(files("pipeline.edges.demo") / "data" / "demo.toml"))
            address = self.broker or self._start_broker(stack)
            environment = {
                "DEMO_NAME": f"demo-{uuid.uuid4().hex[:6]}",
                "DEMO_BROKERS": address,
                "DEMO_HTTP": f"{_HOST}:{free_port(_HOST)}",
            }
            app = load(config, {**os.environ, **environment})
            settings = ClientSettings.of(app)
            admin = stack.enter_context(_closing(Admin(settings)))
            topics = make_sources(admin, app)
            own = admin.create(own_topics(app, topics))
            if self.broker:
                stack.callback(admin.delete, [*topics, *own])
            board = Board(address, f"http://{app.http}")
            worker = stack.enter_context(Worker(config, environment, folder))
            feed = Feed(app.streams, settings.for_kafka_python(), seed=self.seed, scores=self.scores, keep=self._ends)
            feed.start()
            stack.callback(feed.stop)
            partitions = {topic: info.partitions for topic, info in topics.items()}
            outputs = stack.enter_context(_closing(Outputs(app, settings.for_kafka_python(), partitions)))
            worker.await_ready(board.page, _READY_SECONDS)
            self.say(f"see it live at {board.page}")
            board.started = time.monotonic()
            self._watch(board, worker, feed, outputs)
            feed.stop()
            self._drain(board, worker, feed, outputs, lambda: _lag(admin, app, partitions))
            worker.stop()
            self._take(board, outputs.rest(time.monotonic() + _DRAIN_SECONDS))
            self.show(board)
            self.say("comparing with a direct computation")
            return self._compare(config, app, feed)

    @property
    def _ends(self) -> bool:
        return self.seconds is not None

    def _start_broker(self, stack: ExitStack) -> str:
        self.say("starting the embedded Kafka")
        began = time.monotonic()
        kafka = stack.enter_context(EmbeddedKafka())
        self.say(f"Kafka listens on {kafka.address} after {time.monotonic() - began:.1f} s; starting the pipeline")
        return kafka.address

    def _watch(self, board: Board, worker: Worker, feed: Feed, outputs: Outputs) -> None:
        while self.seconds is None or board.elapsed < self.seconds:
            self._step(board, worker, feed, outputs)

    def _drain(self, board: Board, worker: Worker, feed: Feed, outputs: Outputs, lag: Callable[[], int]) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        while lag():
            if time.monotonic() > deadline:
                raise RunError(f"{lag()} events were not committed within {_DRAIN_SECONDS:.0f} s")
            self._step(board, worker, feed, outputs)

    def _step(self, board: Board, worker: Worker, feed: Feed, outputs: Outputs) -> None:
        worker.check()
        if feed.failure is not None:
            raise RunError(f"events can't be sent: {feed.failure}")
        self._take(board, outputs.poll(_POLL_SECONDS))
        board.sent = feed.count
        if time.monotonic() - board.scraped > _SCRAPE_SECONDS:
            board.scrape()
        board.tick()
        self.show(board)

    def _take(self, board: Board, records: Iterator[tuple[str, Event]]) -> None:
        for table, record in records:
            board.add(table, record)
            if self._ends:
                self.outputs.setdefault(table, []).append(record)

    def _compare(self, config: Path, app: App, feed: Feed) -> list[TableCheck]:
        tables: Mapping[str, Any] = tomllib.loads(config.read_text("utf-8"))["tables"]
        return [
            check(name, tables[name]["operators"], feed.sources[table.stream.name].sent, self.outputs.get(name, []))
            for name, table in app.tables.items()
        ]


def _lag(admin: Admin, app: App, partitions: Mapping[str, int]) -> int:
    tps = [TopicPartition(topic, partition) for topic, count in partitions.items() for partition in range(count)]
    committed = admin.committed(app.group)
    return sum(bounds.end - committed.get(tp, 0) for tp, bounds in admin.all_bounds(tps).items())


@contextmanager
def _closing(thing: Any) -> Iterator[Any]:
    try:
        yield thing
    finally:
        thing.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and TERM unwind what was set up; a second one ends at once, and the children end with us."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, lambda number, frame: os._exit(128 + number))
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
