"""The whole measurement: one topic, the same for all; passes interleaved, so that a slow minute hits all alike."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import TopicPartition

from pipeline.core.batch import WireBatch
from pipeline.core.config.load import load
from pipeline.core.config.model import App, Stream
from pipeline.edges.bench.load import fill
from pipeline.edges.bench.rounds import Pass, drain, pipeline
from pipeline.edges.bench.stages import profile
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topics import make_sources, own_topics
from pipeline.edges.process import Worker

MODES = ("every", "commit")
_HOST = "127.0.0.1"

CONFIG = """\
[app]
name = "${BENCH_NAME}"
brokers = "${BENCH_BROKERS}"
http = "${BENCH_HTTP}"
commit_interval = "100ms"

[streams.scores]
topic = "${BENCH_TOPIC}"
format = "json"
time = "ts"

[tables.player]
stream = "scores"
emit = "${BENCH_EMIT}"
[tables.player.operators]
games = { type = "count" }
average = { type = "mean", value = "score" }
"""


@dataclass(frozen=True)
class Workload:
    """How much is measured: ``events`` of ``keys`` players, each way ``rounds`` times."""

    events: int = 1_000_000
    keys: int = 10_000
    rounds: int = 5


@dataclass
class Results:
    """All passes in the order in which they ran, by what ran.

    ``stages`` are CPU seconds, by mode and stage; ``load`` is the machine's load average before anything ran.
    """

    workload: Workload
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    value_bytes: int = 0
    partitions: int = 0
    drains: list[Pass] = field(default_factory=list)
    pipelines: dict[str, list[Pass]] = field(default_factory=lambda: {mode: [] for mode in MODES})
    stages: dict[str, Mapping[str, float]] = field(default_factory=dict)


class Suite:
    """Measures on the embedded Kafka, unless ``broker`` names another; ``say`` is told what goes on.

    ``topics`` are those that it made; none is left when it has run.
    """

    def __init__(self, workload: Workload, broker: str | None, say: Callable[[str], None]) -> None:
        self.results = Results(workload)
        self._broker = broker
        self._say = say
        self._topic = f"bench-{uuid.uuid4().hex[:6]}"
        self.topics: list[str] = []

    def run(self) -> Results:
        """Measure. Takes some minutes.

        Raises:
            StreamfoldError: the broker or the pipeline failed.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamfold-bench-")))
            config = folder / "bench.toml"
            config.write_text(CONFIG, "utf-8")
            address = self._broker or stack.enter_context(EmbeddedKafka()).address
            settings = ClientSettings(address)
            admin = stack.enter_context(closing(Admin(settings)))
            stack.callback(lambda: admin.delete(self.topics))
            ends = self._fill(admin, config, settings)
            for number in range(1, self.results.workload.rounds + 1):
                self._say(f"round {number} of {self.results.workload.rounds}")
                batches = self._drain(settings, ends)
                for mode in MODES:
                    self._pipeline(mode, config, admin, ends, folder)
            self._say("stages")
            for mode in MODES:
                self._profile(mode, config, admin, settings, batches)
            return self.results

    def _app(self, config: Path, mode: str) -> tuple[App, Stream, Mapping[str, str]]:
        """A new app, with topics and a group that nobody used before."""
        environment = {
            "BENCH_NAME": f"{self._topic}-{uuid.uuid4().hex[:6]}",
            "BENCH_TOPIC": self._topic,
            "BENCH_BROKERS": self._brokers,
            "BENCH_HTTP": f"{_HOST}:{free_port(_HOST)}",
            "BENCH_EMIT": mode,
        }
        app = load(config, {**os.environ, **environment})
        return app, app.streams["scores"], environment

    def _fill(self, admin: Admin, config: Path, settings: ClientSettings) -> Mapping[TopicPartition, int]:
        self._brokers = settings.bootstrap_servers
        workload = self.results.workload
        self._say(f"sending {workload.events:,} events of {workload.keys:,} keys")
        app, stream, _ = self._app(config, MODES[0])
        self.topics += make_sources(admin, app)
        self.results.partitions = stream.partitions
        sending = fill(settings, stream.topic, stream.partitions, workload.events, workload.keys)
        self.results.value_bytes = asyncio.run(sending)
        tps = [TopicPartition(stream.topic, partition) for partition in range(stream.partitions)]
        return {tp: bounds.end for tp, bounds in admin.all_bounds(tps).items()}

    def _drain(self, settings: ClientSettings, ends: Mapping[TopicPartition, int]) -> list[WireBatch]:
        done, batches = asyncio.run(drain(settings, ends))
        self.results.drains.append(done)
        return batches

    def _pipeline(
        self, mode: str, config: Path, admin: Admin, ends: Mapping[TopicPartition, int], folder: Path
    ) -> None:
        app, _, environment = self._app(config, mode)
        own = admin.create(own_topics(app, admin.describe([self._topic])))
        self.topics += own
        with Worker(config, environment, folder) as worker:
            self.results.pipelines[mode].append(pipeline(worker, app.group, admin, ends))
        admin.delete(own)

    def _profile(
        self, mode: str, config: Path, admin: Admin, settings: ClientSettings, batches: list[WireBatch]
    ) -> None:
        app, stream, _ = self._app(config, mode)
        source = admin.describe([self._topic])
        own = admin.create(own_topics(app, source))
        self.topics += own
        self.results.stages[mode] = asyncio.run(profile(app, stream, settings, {**source, **own}, batches))
        admin.delete(own)
