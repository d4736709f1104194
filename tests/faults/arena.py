"""A pipeline under faults: workers as processes, a load with a known truth, a second client that counts.

Two streams of four and three partitions; two tables on the first. The oracle is plain Python: exact fractions.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from pipeline.edges.broker.ports import free_port

WORKER = Path(__file__).with_name("worker.py")
SESSION_SECONDS = 6
PARTITIONS = {"scores": 4, "sensors": 3}

CONFIG = """
[app]
name = "{name}"
brokers = "{brokers}"
commit_interval = "50ms"
session_timeout = "{session}s"
http = "127.0.0.1:${{PORT}}"

[streams.scores]
topic = "{source}-scores"

[streams.sensors]
topic = "{source}-sensors"

[tables.player]
stream = "scores"
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "x" }}
last = {{ type = "moving_mean", value = "x", window = 5 }}

[tables.latest]
stream = "scores"
emit = "commit"
[tables.latest.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "x" }}

[tables.sensor]
stream = "sensors"
[tables.sensor.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "x" }}
"""

TOLERANCE = 1e-12 * 1e6
"""Values are below 1e6 in size: 1e-12 of that."""

BAD = (
    None, b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b'{"x": 1', b'{"x": 1}!', b'{"y": 1}', b'{"x": null}',
    b'{"x": "1"}', b'{"x": true}', b'{"x": [1]}', b'{"x": NaN}', b'{"x": 1e999}',
    b"[" * 5_000, b'{"x": "' + 10_000 * b"a" + b'"}',
)  # fmt: skip
"""Values that are no events."""

TABLES = {"player": "scores", "latest": "scores", "sensor": "sensors"}


@dataclass
class Truth:
    """What was sent, folded exactly."""

    count: int = 0
    total: Fraction = Fraction(0)


@dataclass
class Report:
    """What a reader found wrong; all empty when the promise held."""

    events: int = 0
    outputs: int = 0
    violations: list[str] = field(default_factory=list)


class Arena:
    """One app on one broker, its workers, its load and its truth; ``beside`` another one, it reads the same events.

    One key of each stream has the part ``hot`` of its events. Other arenas change the streams, by their partitions, how
    many events each gets, the configuration of the app, or who runs it.
    """

    partitions: ClassVar[Mapping[str, int]] = PARTITIONS
    mix: ClassVar[Sequence[str]] = ("scores", "scores", "sensors")
    config: ClassVar[str] = CONFIG
    replication: ClassVar[int] = 1

    def __init__(
        self, brokers: str, folder: Path, name: str, seed: int, *, beside: Arena | None = None, hot: float = 0.0
    ) -> None:
        self.brokers = brokers
        self._hot = hot
        self.name = name
        self.source: str = name if beside is None else beside.source
        self.folder = folder
        self.random = random.Random(seed)
        self._load_random = random.Random(seed + 1)
        self.file = folder / f"{name}.toml"
        self.file.write_text(
            self.config.format(name=name, source=self.source, brokers=brokers, session=SESSION_SECONDS)
        )
        self.truth: dict[str, dict[str, Truth]] = (
            {stream: defaultdict(Truth) for stream in self.partitions} if beside is None else beside.truth
        )
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.ports: dict[int, int] = {}
        self.faults: list[str] = []
        self._log = folder / f"{name}.log"
        if beside is None:
            self._make_topics()

    def _make_topics(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.brokers)
        admin.create_topics(
            {
                f"{self.source}-{stream}": {"num_partitions": number, "replication_factor": self.replication}
                for stream, number in self.partitions.items()
            }
        )
        admin.close()

    # Workers

    def start(self, number: int, point: str | None = None, call: int = 5, **more: str) -> None:
        """Start worker ``number``; the ``call``-th time at ``point``, a named step of the protocol, it kills itself.

        ``more`` goes into its environment: see worker.py.
        """
        env = self.environment() | ({"KILL_AT": point, "KILL_ON": str(call)} if point else {}) | more
        self.ports[number] = int(env.get("PORT", 0))
        with self._log.open("ab") as log:
            self.workers[number] = subprocess.Popen(self.command(), env=env, stdout=log, stderr=log)

    def command(self) -> list[str]:
        """What starts a worker."""
        return [sys.executable, str(WORKER), str(self.file)]

    def environment(self) -> dict[str, str]:
        """What the configuration asks of the environment, and the rest of it."""
        return os.environ | {"PORT": str(free_port("127.0.0.1"))}

    def kill(self, number: int, how: int) -> None:
        """Send a signal to a worker."""
        self.workers[number].send_signal(how)

    def wait(self, number: int, timeout: float = 60) -> int:
        """The exit code of a worker that ends."""
        return self.workers[number].wait(timeout)

    def revive(self) -> None:
        """Start workers again that ended."""
        for number, worker in list(self.workers.items()):
            if worker.poll() is not None:
                self.start(number)

    def fault(self) -> None:
        """One random fault on one random worker."""
        number = self.random.choice(sorted(self.workers))
        kind = self.random.choice(["kill", "kill", "term", "pause"])
        self.faults.append(kind)
        if kind == "kill":
            self.kill(number, signal.SIGKILL)
        elif kind == "term":
            self.kill(number, signal.SIGTERM)
        else:
            self.kill(number, signal.SIGSTOP)
            time.sleep(1.5 * SESSION_SECONDS)
            self.kill(number, signal.SIGCONT)

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait()

    # Load

    def send(self, events: int, keys: int = 50) -> None:
        """Send events of both streams, and fold them into the truth."""
        producer = self._producer()
        for _ in range(events):
            self._send_one(producer, keys)
        producer.flush()
        producer.close()

    @contextmanager
    def load(self, rate: int, keys: int = 50, bad: float = 0.0) -> Iterator[None]:
        """Send about ``rate`` events a second while the body runs; the part ``bad`` of them are no events."""
        stop = threading.Event()

        def work() -> None:
            producer = self._producer()
            while not stop.wait(0.02):
                for _ in range(max(1, rate // 50)):
                    self._send_one(producer, keys, bad)
            producer.flush()
            producer.close()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _producer(self) -> KafkaProducer:
        """It waits for a broker that is away, and sends nothing twice."""
        return KafkaProducer(
            bootstrap_servers=self.brokers, linger_ms=5, acks="all", enable_idempotence=True, max_block_ms=120_000
        )

    def _send_one(self, producer: KafkaProducer, keys: int, bad: float = 0.0) -> None:
        stream = self._load_random.choice(self.mix)
        hot = self._load_random.random() < self._hot
        key = f"{stream}-{0 if hot else self._load_random.randrange(keys)}"
        x = self._load_random.uniform(-1e6, 1e6)
        if self._load_random.random() < bad:
            producer.send(f"{self.source}-{stream}", key=key.encode(), value=self._load_random.choice(BAD))
            return
        record_key, value = self.record(stream, key, x)
        producer.send(f"{self.source}-{stream}", key=record_key, value=json.dumps(value).encode())
        truth = self.truth[stream][key]
        truth.count += 1
        truth.total += Fraction(x)

    def record(self, stream: str, key: str, x: float) -> tuple[bytes | None, dict[str, object]]:
        """The record's key and value of an event."""
        return key.encode(), {"x": x}

    # What came out

    def drained(self, timeout: float = 60, *, revive: bool = True) -> None:
        """Wait until the group has committed the end of every source partition; workers that ended start again."""
        admin = KafkaConsumer(bootstrap_servers=self.brokers, group_id=self.name, enable_auto_commit=False)
        parts = [TopicPartition(topic, p) for topic, n in self.read_topics().items() for p in range(n)]
        deadline = time.monotonic() + timeout
        try:
            while True:
                ends = admin.end_offsets(parts)
                lag = {p: ends[p] - (admin.committed(p) or 0) for p in parts}
                if not any(lag.values()):
                    return
                assert time.monotonic() < deadline, f"lag after {timeout} s: {lag}\n{self.log()}"
                if revive:
                    self.revive()
                time.sleep(0.25)
        finally:
            admin.close()

    def read_topics(self) -> dict[str, int]:
        """The topics that workers read, and how many partitions each has."""
        return {f"{self.source}-{stream}": number for stream, number in self.partitions.items()}

    def outputs(self, table: str) -> int:
        """How many records a table's output has, whether committed or not."""
        consumer = KafkaConsumer(bootstrap_servers=self.brokers)
        try:
            topic = f"{self.name}-{table}"
            parts = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
            return sum(consumer.end_offsets(parts).values())
        finally:
            consumer.close()

    def check(self) -> Report:
        """Read every output under read_committed with a second client, and compare with the truth."""
        report = Report(events=sum(t.count for keys in self.truth.values() for t in keys.values()))
        for table, stream in TABLES.items():
            self._check_table(table, stream, report)
        return report

    def history(self, table: str) -> dict[str, list[dict[str, float]]]:
        """By key, every committed output in order, without where it stands in the source."""
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for record in self.read(f"{self.name}-{table}", PARTITIONS[TABLES[table]]):
            value = json.loads(record.value)
            found[value["key"]].append({name: value[name] for name in value if name not in ("key", "time")})
        return found

    def _check_table(self, table: str, stream: str, report: Report) -> None:
        truth, say = self.truth[stream], report.violations.append
        seen: dict[str, int] = defaultdict(int)
        last: dict[str, dict[str, float]] = {}
        for record in self.read(f"{self.name}-{table}", PARTITIONS[stream]):
            value = json.loads(record.value)
            key = value["key"]
            report.outputs += table != "latest"
            if table != "latest" and value["games"] != seen[key] + 1:
                say(f"{table}: {key} shows {value['games']} after {seen[key]}")
            if value["games"] < seen[key]:
                say(f"{table}: {key} went back from {seen[key]} to {value['games']}")
            seen[key] = value["games"]
            last[key] = value
        for key, exact in truth.items():
            if seen[key] != exact.count:
                say(f"{table}: {key} has {seen[key]} of {exact.count}")
            elif abs(last[key]["average"] - float(exact.total / exact.count)) > TOLERANCE:
                say(f"{table}: {key} is {last[key]['average']}, not {float(exact.total / exact.count)}")

    def read(self, topic: str, partitions: int, isolation: str = "read_committed") -> Iterator[Any]:
        """All records of a topic, by a second client."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.brokers, isolation_level=isolation, enable_auto_commit=False,
            auto_offset_reset="earliest", consumer_timeout_ms=10_000,
        )  # fmt: skip
        parts = [TopicPartition(topic, p) for p in range(partitions)]
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        try:
            while any(consumer.position(p) < ends[p] for p in parts):
                for records in consumer.poll(timeout_ms=1_000, max_records=10_000).values():
                    yield from records
        finally:
            consumer.close()

    def log(self) -> str:
        """The end of what the workers said."""
        return self._said()[-4_000:]

    def times_said(self, text: str) -> int:
        """How often the workers said so."""
        return self._said().count(text)

    def _said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.05)
