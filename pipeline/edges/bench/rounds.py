"""One measured pass over the whole topic: by the bare drain, or by `streamfold run`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiokafka import TopicPartition

from pipeline.core.batch import WireBatch
from pipeline.edges.host.service import calm_the_collector
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.process import Worker
from pipeline.errors import RunError

_DRAIN_LIMIT = 20_000
_LOOK_SECONDS = 0.05
_GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True)
class Pass:
    """Seconds by the clock, and of the client's CPU (None where the system does not tell)."""

    events: int
    wall: float
    cpu: float | None

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.wall

    @property
    def rate_of_cpu(self) -> float | None:
        """Events a second of CPU."""
        return self.events / self.cpu if self.cpu else None


async def drain(settings: ClientSettings, ends: Mapping[TopicPartition, int]) -> tuple[Pass, list[WireBatch]]:
    """Read the partitions up to their ends as columns and do nothing else: what no pipeline can exceed."""
    consumer = ColumnarConsumer.reader(settings)
    await consumer.start()
    try:
        consumer.assign(list(ends))
        for tp in ends:
            consumer.seek(tp, 0)
        batches: list[WireBatch] = []
        left = dict(ends)
        calm_the_collector()
        wall, cpu = time.perf_counter(), time.process_time()
        while left:
            for drained in await consumer.drain(left, limit=_DRAIN_LIMIT, timeout=1.0):
                batches.append(drained.batch)
                if drained.batch.next >= ends[drained.tp]:
                    del left[drained.tp]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    finally:
        await consumer.shutdown()
    return Pass(sum(map(len, batches)), wall, cpu), batches


def pipeline(worker: Worker, group: str, admin: Admin, ends: Mapping[TopicPartition, int]) -> Pass:
    """Let `streamfold run`, just started, fold and publish everything as a group that never ran before.

    The clock runs from the first look that finds events committed, and counts what is committed after that: joining the
    group, fencing and restoring are no part of a rate.
    """
    total = sum(ends.values())
    _await(worker, lambda: len(_committed(admin, group)))
    wall, cpu = time.perf_counter(), cpu_seconds(worker.pid)
    before = _await(worker, lambda: sum(_committed(admin, group).values()))
    if before < total:
        wall, cpu = time.perf_counter(), cpu_seconds(worker.pid)
    else:  # too few for that: all that there was came with the first commit
        before = 0
    _await(worker, lambda: all(_committed(admin, group).get(tp, 0) >= end for tp, end in ends.items()))
    wall, spent = time.perf_counter() - wall, cpu_seconds(worker.pid)
    worker.stop()
    return Pass(total - before, wall, None if cpu is None or spent is None else spent - cpu)


def cpu_seconds(pid: int) -> float | None:
    """What a process has used so far, user and system; None on systems without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _committed(admin: Admin, group: str) -> Mapping[TopicPartition, int]:
    try:
        return admin.committed(group)
    except Unreachable:  # a new broker has no coordinator until the first member of a group asks for one
        return {}


def _await(worker: Worker, look: Callable[[], int]) -> int:
    """What the first look gave that was not 0."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while not (seen := look()):
        worker.check()
        if time.monotonic() > deadline:
            raise RunError(f"the pipeline did not get through within {_GIVE_UP_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
    return seen
