"""A worker as a user starts it: a process of its own, with a configuration and topics of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topic_spec import TopicSpec

CONFIG = """
[app]
name = "{name}"
brokers = "{brokers}"
http = "127.0.0.1:{port}"
session_timeout = "6s"
start_timeout = "5s"

[streams.scores]
topic = "{name}.scores"

[tables.player]
stream = "scores"
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "score" }}

[streams.machine]
topic = "{name}.machine"
vectors = {{ k = 2, v = 2 }}

[tables.machine]
stream = "machine"
emit = "commit"
[tables.machine.operators]
memory = {{ type = "linear_attention", key = "k", value = "v", feature_map = "identity" }}
"""

STREAMFOLD = (sys.executable, "-m", "pipeline.cli")

Answer = tuple[int, Any]


class Site:
    """One app: its file, its topics, what is sent to them."""

    def __init__(self, brokers: str, folder: Path, name: str, port: int) -> None:
        self.brokers = brokers
        self.name = name
        self.port = port
        self.file = folder / "pipeline.toml"
        self.file.write_text(CONFIG.format(name=name, brokers=brokers, port=port))

    def make_sources(self) -> None:
        with closing(Admin(ClientSettings(self.brokers))) as admin:
            admin.create([TopicSpec.source(f"{self.name}.scores", 4), TopicSpec.source(f"{self.name}.machine", 1)])

    def send(self, stream: str, events: Sequence[tuple[bytes, Mapping[str, object]]]) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.brokers)) as producer:
            for key, event in events:
                producer.send(f"{self.name}.{stream}", key=key, value=json.dumps(event).encode())
            producer.flush()

    def committed(self) -> int:
        """How many source events the group has committed."""
        with closing(Admin(ClientSettings(self.brokers))) as admin:
            return sum(admin.committed(self.name).values())

    def streamfold(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run([*STREAMFOLD, *arguments], capture_output=True, text=True, timeout=timeout, check=False)

    @contextmanager
    def running(self, *options: str, ready: int = 1) -> Iterator[subprocess.Popen[str]]:
        """`streamfold run`, from when ``ready`` workers are ready; killed afterwards if it still runs."""
        with process([*STREAMFOLD, "run", str(self.file), *options]) as worker:
            ports = range(self.port, self.port + ready)
            until(lambda: all(map(is_ready, ports)), 60, "ready", worker)
            yield worker

    def ask(self, path: str, body: bytes | None = None, *, method: str | None = None, port: int = 0) -> Answer:
        """Status and JSON (or text) of an answer."""
        return ask(port or self.port, path, body, method)


@contextmanager
def process(command: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone when the body ends; its output can be read."""
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def end(started: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal; the exit code and all that was said."""
    started.send_signal(number)
    said, _ = started.communicate(timeout=60)
    return started.returncode, said


def ask(
    port: int,
    path: str,
    body: bytes | None = None,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        response = connection.getresponse()
        raw = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(raw) if is_json and raw else raw.decode()
    finally:
        connection.close()


def is_stopped(pid: int) -> bool:
    """Whether each thread of a process has been stopped by a signal: those of a busy machine go on for a while."""
    try:
        threads = [thread.read_text() for thread in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # one has just ended: nothing stands still yet
        return False
    return threads != [] and all(thread.rpartition(") ")[2].startswith("T") for thread in threads)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process stands still: nothing that is asked of it in the body is done before the body ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: is_stopped(pid), 60, f"process {pid} stands still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def is_ready(port: int) -> bool:
    try:
        return ask(port, "/readyz")[0] == 200
    except OSError:
        return False


def until(
    condition: Callable[[], bool], seconds: float, what: str, started: subprocess.Popen[str] | None = None
) -> None:
    """Wait for a condition; fail if it does not come, or if the process that should bring it ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        if started is not None and started.poll() is not None:
            raise AssertionError(f"ended with {started.returncode}: {started.communicate()[0]}")
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def free_ports(number: int = 1) -> int:
    """The first of some neighbouring ports that are free now."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
        try:
            for offset in range(number):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
