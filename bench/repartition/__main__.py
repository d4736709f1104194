"""`make bench-repartition`: events a second directly and through a hop, alternately, and what was sent on."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from aiokafka import TopicPartition

from pipeline.core.config.load import load
from pipeline.core.config.model import App
from pipeline.core.config.repartition import rewritten
from pipeline.edges.bench.load import fill
from pipeline.edges.bench.rounds import cpu_seconds
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.topics import make_sources, own_topics
from pipeline.edges.process import Worker

CONFIG = """\
[app]
name = "${BENCH_NAME}"
brokers = "${BENCH_BROKERS}"
http = "${BENCH_HTTP}"
commit_interval = "100ms"

[streams.scores]
topic = "${BENCH_TOPIC}"
time = "ts"
key = "player"
repartition = ${BENCH_WAY}

[tables.player]
stream = "scores"
emit = "${BENCH_EMIT}"
[tables.player.operators]
games = { type = "count" }
average = { type = "mean", value = "score" }
"""

EMITS = ("every", "commit")
WAYS = {"direct": "false", "repartitioned": "true"}
_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.05
_GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True)
class Pass:
    """One pass over the whole topic: seconds by the clock and of the worker's CPU, and the records sent on."""

    wall: float
    cpu: float
    sent: int


class Rounds:
    """Passes over one topic of so many events."""

    def __init__(self, stack: ExitStack, events: int, keys: int) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamfold-bench-")))
        self.config = self.folder / "bench.toml"
        self.topic = f"bench-{uuid.uuid4().hex[:6]}"
        self.settings = ClientSettings(stack.enter_context(EmbeddedKafka()).address)
        self.admin = stack.enter_context(closing(Admin(self.settings)))
        app, _ = self._app("every", "direct")
        make_sources(self.admin, app)
        (stream,) = app.streams.values()
        asyncio.run(fill(self.settings, self.topic, stream.partitions, events, keys))
        self.parts = [TopicPartition(self.topic, number) for number in range(stream.partitions)]

    def run(self, emit: str, way: str) -> Pass:
        """One pass by a group that never ran before, from its first commit until all is folded."""
        app, environment = self._app(emit, way)
        physical = rewritten(app)
        topics = self.admin.create(own_topics(physical, self.admin.describe([self.topic])))
        between = [
            TopicPartition(stream.topic, number)
            for stream in physical.streams.values()
            if stream.internal
            for number in range(topics[stream.topic].partitions)
        ]
        with Worker(self.config, environment, self.folder) as worker:
            self._until(worker, lambda: bool(self._committed(app.group)))
            wall, cpu = time.perf_counter(), cpu_seconds(worker.pid) or 0.0
            self._until(worker, lambda: self._folded(app.group, between))
            done = Pass(time.perf_counter() - wall, (cpu_seconds(worker.pid) or 0.0) - cpu, self._records(between))
            worker.stop()
        self.admin.delete(topics)
        return done

    def _app(self, emit: str, way: str) -> tuple[App, Mapping[str, str]]:
        environment = {
            "BENCH_NAME": f"{self.topic}-{uuid.uuid4().hex[:6]}",
            "BENCH_TOPIC": self.topic,
            "BENCH_BROKERS": self.settings.bootstrap_servers,
            "BENCH_HTTP": f"{_HOST}:{free_port(_HOST)}",
            "BENCH_EMIT": emit,
        }
        self.config.write_text(CONFIG.replace("${BENCH_WAY}", WAYS[way]), "utf-8")
        return load(self.config, {**os.environ, **environment}), environment

    def _committed(self, group: str) -> Mapping[TopicPartition, int]:
        try:
            return self.admin.committed(group)
        except Unreachable:  # a new broker has no coordinator until the first member of a group asks for one
            return {}

    def _folded(self, group: str, between: list[TopicPartition]) -> bool:
        committed = self._committed(group)
        for parts in (self.parts, between):  # the source first: nothing is sent on after it
            bounds = self.admin.all_bounds(parts)
            if any(committed.get(tp, 0) < bound.end for tp, bound in bounds.items()):
                return False
        return True

    def _records(self, between: list[TopicPartition]) -> int:
        """About how many records went between: their offsets, less a mark for each transaction."""
        return sum(bound.end for bound in self.admin.all_bounds(between).values())

    def _until(self, worker: Worker, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while not condition():
            worker.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"not through within {_GIVE_UP_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)


@click.command()
@click.option("--events", type=click.IntRange(min=1_000), default=1_000_000, show_default=True)
@click.option("--keys", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def command(*, events: int, keys: int, rounds: int) -> None:
    """Fold one topic directly and repartitioned, alternately, and compare."""
    for library in ("kafka", "aiokafka"):
        logging.getLogger(library).setLevel(logging.ERROR)
    found: dict[tuple[str, str], list[Pass]] = {(emit, way): [] for emit in EMITS for way in WAYS}
    with ExitStack() as stack:
        measured = Rounds(stack, events, keys)
        for number in range(rounds):
            for (emit, way), passes in found.items():
                done = measured.run(emit, way)
                passes.append(done)
                rate, cost = events / done.wall / 1000, done.cpu / events * 1e9
                click.echo(
                    f"round {number + 1}: {emit:6} {way:13} {rate:6.0f} thousand events a second, "
                    f"{cost:5.0f} ns of CPU an event, {done.sent:,} offsets between"
                )
    for emit in EMITS:
        direct, sent = found[emit, "direct"], found[emit, "repartitioned"]
        walls = median(one.wall / other.wall for one, other in zip(direct, sent, strict=True))
        cpus = median(one.cpu / other.cpu for one, other in zip(direct, sent, strict=True))
        click.echo(f"emit = {emit}: repartitioned at {walls:.2f} of the direct rate, {cpus:.2f} by CPU")


if __name__ == "__main__":
    command()
