"""What the tests of the commands share: a small pipeline, the command itself, and what ended up in a topic."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as Partition

from pipeline.core.config.load import load
from pipeline.core.config.model import App
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.process import Worker

CONFIG = """
[app]
name = "{name}"
brokers = "{kafka}"
http = "127.0.0.1:{port}"
commit_interval = "20ms"
session_timeout = "6s"

[streams.scores]
topic = "{name}-source"
key = "player"
time = "ts"
partitions = 3

[tables.player]
stream = "scores"
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "score" }}
"""


@dataclass(frozen=True)
class Pipeline:
    """A configuration file, and what can be done with it."""

    file: Path

    @property
    def app(self) -> App:
        return load(self.file)

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli", verb, str(self.file), *arguments]

    def run(self, verb: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with ``text`` on its standard input."""
        command = self.command(verb, *arguments)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=90)

    @contextmanager
    def started(self, verb: str, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A command that is still running; nothing is left of it afterwards."""
        command = self.command(verb, *arguments)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as child:
            try:
                yield child
            finally:
                child.kill()

    def send(self, events: list[dict[str, Any]]) -> None:
        done = self.run("send", "scores", text="".join(f"{json.dumps(event)}\n" for event in events))
        assert done.returncode == 0, done.stderr

    def publish(self, records: list[tuple[bytes, bytes | None]], *, commit: bool) -> None:
        """One transaction, as a worker would write it; what is not committed is aborted."""

        async def write() -> None:
            topic = self.app.output(self.app.tables["player"])
            producer = await TransactionalProducer.fence(ClientSettings.of(self.app), topic)
            await producer.begin()
            await producer.append(topic, 0, [key for key, _ in records], [value for _, value in records])
            await producer.acknowledge()
            await (producer.commit() if commit else producer.abort())
            await producer.close()

        asyncio.run(write())

    @contextmanager
    def working(self) -> Iterator[Worker]:
        """A worker that takes events; it has committed all it folded at the end."""
        with Worker(self.file, os.environ, self.file.parent) as worker:
            worker.await_ready(f"http://{self.app.http}", 60)
            yield worker
            worker.stop()

    @contextmanager
    def admin(self) -> Iterator[Admin]:
        admin = Admin(ClientSettings.of(self.app))
        try:
            yield admin
        finally:
            admin.close()

    def records(self, topic: str) -> list[Any]:
        """All committed records of a topic, as the independent client reads them; those of a partition in order."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.app.brokers, isolation_level="read_committed", enable_auto_commit=False
        )
        try:
            tps = [Partition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
            consumer.assign(tps)
            consumer.seek_to_beginning()
            ends = consumer.end_offsets(tps)
            found: list[Any] = []
            while any(consumer.position(tp) < end for tp, end in ends.items()):
                for records in consumer.poll(timeout_ms=200).values():
                    found.extend(records)
            return found
        finally:
            consumer.close()


def pipeline_in(folder: Path, kafka: str, name: str, text: str = CONFIG) -> Pipeline:
    file = folder / "pipeline.toml"
    file.write_text(text.format(name=name, kafka=kafka, port=free_port("127.0.0.1")), "utf-8")
    return Pipeline(file)


def games(count: int) -> list[dict[str, Any]]:
    return [{"player": f"player-{i % 5}", "score": i, "ts": 1_700_000_000 + i} for i in range(count)]
