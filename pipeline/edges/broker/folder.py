"""The data folder of a broker: its settings, its log and, in ``kafka/``, what Kafka itself keeps."""

from __future__ import annotations

import base64
import fcntl
import uuid
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError

_SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # After kill -9 a broker may register again only when its earlier session is over, and one that a busy machine holds
    # up for as long leads nothing until it is heard again.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "log.retention.ms": "-1",  # events may carry old times; the owner of the folder decides when they go
    "log.cleaner.dedupe.buffer.size": "16777216",
}


class DataFolder:
    """``root`` holds ``server.properties``, ``broker.log`` and ``kafka/``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "broker.log"
        self.properties = root / "server.properties"
        self._kafka = root / "kafka"

    def check(self) -> None:
        """Make sure that a broker may use this folder, which is made if it is missing.

        Raises:
            InputError: it cannot be made, holds something else, or is in use.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            foreign = any(self.root.iterdir()) and not self.properties.exists()
        except OSError as error:
            raise InputError(
                f"the broker cannot keep its data in {self.root}: {error.strerror}", "choose another folder"
            ) from error
        if foreign:
            raise InputError(
                f"{self.root} holds other files and no broker's data", "choose an empty folder, or one that it makes"
            )
        if self._is_locked():
            raise InputError(f"another broker is using the data in {self.root}", "end it, or choose another folder")

    def write_properties(self, host: str, port: int, controller_port: int, extra: Mapping[str, str]) -> None:
        """Write Kafka's settings for these addresses, relative to this folder; ``extra`` goes over them."""
        addresses = {
            "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{host}:{port}",
            "controller.quorum.voters": f"1@{host}:{controller_port}",
            "log.dirs": self._kafka.name,
        }
        merged = {**_SINGLE_NODE, **addresses, **extra}
        lines = [f"{name}={_escape(value)}\n" for name, value in merged.items()]
        self.properties.write_text("".join(lines), "utf-8")

    def is_formatted(self) -> bool:
        """Whether Kafka has once made its storage here."""
        return (self._kafka / "meta.properties").exists()

    def _is_locked(self) -> bool:
        """Whether a Kafka holds the lock that it takes on its storage (a POSIX record lock)."""
        lock = self._kafka / ".lock"
        if not lock.exists():
            return False
        with lock.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def new_cluster_id() -> str:
    """A random identity, in the form that Kafka uses."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")


def _escape(value: str) -> str:
    """In Java's property files a backslash escapes."""
    return value.replace("\\", "\\\\")
