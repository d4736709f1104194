"""What a worker knows of its own health: whether it is ready, how far behind, whether the broker still answers."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.partition import Partition
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.phase import Phase
from pipeline.errors import KafkaStateError

if TYPE_CHECKING:
    from pipeline.edges.kafka.plane import Plane

_EVERY_SECONDS = 1.0
_PROBE_SECONDS = 3.0
_SILENT_SECONDS = 5.0
_STALLED_SECONDS = 30.0
_IDENTIFY_SECONDS = 5.0
_TELL_SECONDS = 5.0
_LETTERS_SECONDS = 60.0

log = logging.getLogger(__name__)


class Watch:
    """Looks at the plane each second: updates the gauges, and ends the worker when it can't go on.

    That is when the broker stays away too long, or a topic is deleted or made again: tasks that run would not notice,
    and old state would go on over new offsets.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._answered = self._told = time.monotonic()
        self._letters: dict[tuple[str, str], int] = {}
        self._letters_due = 0.0
        self._identify = asyncio.Event()
        self._stalled: dict[object, float] = {}
        self._question = TopicPartition(next(iter(plane.app.streams.values())).topic, 0)

    async def run(self) -> None:
        """Until cancelled; raises KafkaStateError when the broker was away for ``broker_timeout``."""
        while True:
            await self._probe()
            self.measure()
            self._tell_of_restores()
            self._tell_of_letters()
            await asyncio.sleep(_EVERY_SECONDS)

    async def identify(self) -> None:
        """Until cancelled; raises KafkaStateError when a topic is gone, or is not the one that it was."""
        world = self._plane.world
        assert world is not None
        gone: set[str] = set()
        while True:
            try:
                async with asyncio.timeout(_EVERY_SECONDS if gone else _IDENTIFY_SECONDS):
                    await self._identify.wait()
            except TimeoutError:
                pass
            self._identify.clear()
            try:
                found = await world.ask(world.admin.describe, world.topics)
                missing = world.topics.keys() - found
                # A topic without a leader is not described, but is not gone.
                now_gone = missing - await self._plane.consumer.topics() if missing else set()
            except (Unreachable, KafkaError, OSError):
                continue
            others = {name for name, info in found.items() if info.topic_id != world.topics[name].topic_id}
            # One look may have met a broker that has only just started.
            if bad := (now_gone & gone) | others:
                what = "was deleted and made again" if others else "does not exist any more"
                raise KafkaStateError(
                    f"topic {', '.join(sorted(bad))} {what}",
                    "`streamfold reset FILE` folds all that the source holds anew; restore the topic if its data "
                    "matters",
                )
            gone = now_gone

    async def show(self) -> None:
        """Until cancelled, show the latest results of the listed keys; returns if no table lists any.

        They are read between two folds, which may take their time: readiness does not wait for that.
        """
        plane = self._plane
        if not any(table.metrics_keys for table in plane.app.tables.values()):
            return
        while True:
            for tp, task in list(plane.tasks.items()):
                values = await task.read(Partition.listed)
                if plane.tasks.get(tp) is task:
                    plane.metrics.show(tp, values or {})
            await asyncio.sleep(_EVERY_SECONDS)

    def assigned(self) -> None:
        """Partitions were assigned: see at once whether their topics are still the same."""
        self._identify.set()

    def reasons(self) -> list[str]:
        """Why the worker is not ready; none if it is."""
        plane = self._plane
        reasons = []
        silent = time.monotonic() - self._answered
        if silent > _SILENT_SECONDS:
            reasons.append(f"no answer from the broker for {silent:.0f} s")
        if plane.consumer.current_assignment() is None:
            reasons.append("joining the group")
        for task in plane.tasks.values():
            if task.restore is not None:
                left = sum(task.restore.remaining.values())
                reasons.append(f"{task.name} is restoring: {left} records to go")
            elif task.phase is not Phase.RUNNING:
                reasons.append(f"{task.name} is {task.phase.value}")
            elif time.monotonic() - self._stalled.get(task.tp, time.monotonic()) > _STALLED_SECONDS:
                reasons.append(f"{task.name} is stalled by an open transaction upstream")
        return reasons

    async def _probe(self) -> None:
        """Ask the group's coordinator something small: the fetches of a restoring or full worker tell nothing."""
        timeout = self._plane.app.broker_timeout
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._plane.consumer.committed(self._question)
            self._answered = time.monotonic()
        except (KafkaError, TimeoutError, OSError) as error:
            if time.monotonic() - self._answered > timeout:
                raise KafkaStateError(
                    f"no answer from the broker at {self._plane.app.brokers} for {timeout:.0f} s",
                    "see that it is up and reachable; raise broker_timeout if it may be away longer",
                ) from error

    def measure(self) -> None:
        """Set the gauges to what is so now."""
        plane, metrics = self._plane, self._plane.metrics
        state_bytes = dict.fromkeys(plane.app.tables, 0)
        for tp, task in list(plane.tasks.items()):
            if task.restore is not None:
                for name, remaining in task.restore.remaining.items():
                    metrics.restore_remaining.labels(name, tp.partition).set(remaining)
            marks, partition = plane.consumer.watermarks(tp), task.partition
            if partition is None or marks is None:
                continue
            metrics.lag_events.labels(tp.topic, tp.partition).set(max(0, marks.high - partition.position))
            stalled = partition.position == marks.stable < marks.high
            if stalled:
                self._stalled.setdefault(tp, time.monotonic())
            else:
                self._stalled.pop(tp, None)
            for name, table in partition.tables.items():
                metrics.keys.labels(name, tp.partition).set(table.state.live)
                metrics.restore_remaining.labels(name, tp.partition).set(0)
                state_bytes[name] += table.state.nbytes
        for name, nbytes in state_bytes.items():
            metrics.state_bytes.labels(name).set(nbytes)
        metrics.ready.set(not self.reasons())

    def _tell_of_restores(self) -> None:
        """Of restores that take long, log how far they are."""
        left = [
            remaining
            for task in self._plane.tasks.values()
            if task.restore is not None
            for remaining in task.restore.remaining.values()
            if remaining
        ]
        now = time.monotonic()
        due = now - self._told > _TELL_SECONDS
        if left and due:
            log.info("restoring: %s changelog records to go", f"{sum(left):,}")
        if due or not left:
            self._told = now

    def _tell_of_letters(self) -> None:
        """Log that events are refused: at the first one, and once a minute how many there were since."""
        now, before = time.monotonic(), self._letters
        if now < self._letters_due or (refused := self._plane.metrics.refused()) == before:
            return
        new = {why: number - before.get(why, 0) for why, number in refused.items() if number > before.get(why, 0)}
        reasons = ", ".join(f"{number:,} {reason} ({stage})" for (stage, reason), number in sorted(new.items()))
        log.warning("%s new dead letters in %s: %s", f"{sum(new.values()):,}", self._plane.app.dead_letters, reasons)
        self._letters, self._letters_due = refused, now + _LETTERS_SECONDS
