"""A worker of its own process that a Prometheus of its own watches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path

from kafka import KafkaProducer

from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topic_spec import TopicSpec
from tests.kafka.process import STREAMFOLD, end, free_ports, is_ready, process, until
from tests.prometheus import Prometheus

CONFIG = """
[app]
name = "{name}"
brokers = "{brokers}"
http = "127.0.0.1:{port}"
session_timeout = "6s"
commit_interval = "100ms"

[streams.scores]
topic = "{name}.scores"
time = "ts"
where = "score >= 0"

[tables.player]
stream = "scores"
on_null = "delete"
dedupe = {{ field = "id", window = "1m", max_events = 20 }}
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "score" }}
last_3 = {{ type = "moving_mean", value = "score", window = 3 }}
recent = {{ type = "moving_mean", value = "score", window = "10s" }}
spread = {{ type = "std", value = "score" }}
[tables.player.metrics]
keys = ["ann", "bob"]

[tables.bonus]
stream = "scores"
missing = "skip"
on_null = "delete"
[tables.bonus.operators]
bonus = {{ type = "mean", value = "bonus" }}
"""


class Site:
    """A worker with its topic, and the Prometheus that watches it."""

    def __init__(self, kafka: str, folder: Path, partitions: int = 1) -> None:
        self.kafka = kafka
        self.port, prometheus = free_ports(), free_ports()
        self.name = f"watched-{self.port}"
        self.topic = f"{self.name}.scores"
        self.file = folder / "pipeline.toml"
        self.file.write_text(CONFIG.format(name=self.name, brokers=kafka, port=self.port))
        self.prometheus = Prometheus(folder, prometheus, target=f"127.0.0.1:{self.port}")
        self.loaded = (0.0, 0.0)
        self.workers = ExitStack()
        self._ids = count()
        with closing(Admin(ClientSettings(kafka))) as admin:
            admin.create([TopicSpec.source(self.topic, partitions)])

    def start(self) -> None:
        """Start the worker."""
        self.worker = self.workers.enter_context(process([*STREAMFOLD, "run", str(self.file)]))

    def ready(self) -> None:
        """Wait until the worker is ready."""
        until(lambda: is_ready(self.port), 60, "ready", self.worker)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The worker, ready, and Prometheus, which has seen it."""
        with self.workers, self.prometheus.running():
            self.start()
            self.ready()
            until(lambda: self.prometheus.ask("up == 1") != [], 60, "scraped", self.worker)
            yield
            code, said = end(self.worker)
            assert code == 0, said

    def score(self, score: float = 1, **fields: object) -> bytes:
        return json.dumps({"score": score, "ts": time.time(), "id": next(self._ids), **fields}).encode()

    def round(self) -> list[tuple[str, bytes | None]]:
        """Some events, and one of each kind that is not just folded."""
        twice = self.score()
        return [
            *((name, self.score(n % 7, bonus=n)) for n in range(40) for name in ("ann", "bob")),
            ("ann", self.score(-1)),  # filtered
            ("ann", self.score(ts=time.time() - 3600)),  # late
            (f"new-{next(self._ids)}", self.score()),  # skipped by the bonus, and its spread is undefined
            ("ann", twice),
            ("ann", twice),  # a duplicate
            ("cat", self.score()),
            ("cat", None),  # a key dropped
            ("ann", b"no JSON"),  # a dead letter
        ]

    def load(self, seconds: float) -> None:
        """Send rounds of events for some seconds."""
        last = time.monotonic() + seconds
        with closing(KafkaProducer(bootstrap_servers=self.kafka)) as producer:
            while time.monotonic() < last:
                for key, value in self.round():
                    producer.send(self.topic, value, key.encode())
                producer.flush()
                time.sleep(0.3)

    def fired(self, alert: str) -> bool:
        """Whether an alert fires now."""
        return self.prometheus.ask(f'ALERTS{{alertname="{alert}", alertstate="firing"}}') != []
