"""A worker under a magnifying glass: its memory, its processor time, its metrics."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

from aiokafka import TopicPartition

from pipeline.edges.bench.rounds import cpu_seconds
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.process import Worker
from pipeline.errors import RunError

_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.25
_GIVE_UP_SECONDS = 1800.0


class Watched:
    """`streamfold run` with some variables of the environment set; use it as a context."""

    def __init__(self, config: Path, environment: Mapping[str, str], folder: Path) -> None:
        port = free_port(_HOST)
        self.page = f"http://{_HOST}:{port}"
        self.began = time.monotonic()
        self.worker = Worker(config, {**environment, "KEYS_HTTP": f"{_HOST}:{port}"}, folder)

    def await_ready(self) -> tuple[float, float]:
        """Wait until it takes events; seconds since it was started, by the clock and of its processor time."""
        self.worker.await_ready(self.page, _GIVE_UP_SECONDS)
        return time.monotonic() - self.began, self.cpu

    def await_committed(self, admin: Admin, group: str, ends: Mapping[TopicPartition, int]) -> None:
        """Wait until the group has committed these offsets."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            self.worker.check()
            try:
                committed = admin.committed(group)
            except Unreachable:  # without a coordinator until a member asks for one
                committed = {}
            if all(committed.get(tp, 0) >= end for tp, end in ends.items()):
                return
            if time.monotonic() > deadline:
                raise RunError(f"not committed within {_GIVE_UP_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def await_end(self) -> str:
        """Wait until it ends by itself: the exit code and the last that it said."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            try:
                self.worker.check()
            except RunError as error:
                return error.cause
            time.sleep(_LOOK_SECONDS)
        raise RunError(f"the worker did not end within {_GIVE_UP_SECONDS:.0f} s")

    @property
    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        return cpu_seconds(self.worker.pid) or 0.0

    @property
    def memory(self) -> int:
        """Bytes of it that are in memory now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes that were in memory since the last call; counting begins anew."""
        most = self._status("VmHWM")
        Path(f"/proc/{self.worker.pid}/clear_refs").write_text("5", "ascii")
        return most

    def metric(self, name: str) -> int:
        """The sum of a metric over its labels."""
        with urlopen(f"{self.page}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        return int(sum(float(value) for value in re.findall(rf"^streamfold_{name}(?:{{.*}})? (\S+)$", text, re.M)))

    def _status(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{self.worker.pid}/status").read_text("ascii"), re.M)
        if found is None:
            raise RunError(f"{os.uname().sysname} does not tell {name} of a process")
        return int(found[1]) * 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.worker.__exit__(kind, error, trace)
