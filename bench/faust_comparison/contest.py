"""One contestant's run: load, faults by the script, everything caught up, everything counted."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from bench.faust_comparison.contestants import Contestant
from bench.faust_comparison.script import WORKERS, Step
from bench.faust_comparison.tally import Tally, silences, tally
from pipeline.edges.kafka.admin import Admin, Isolation
from pipeline.edges.kafka.errors import Unreachable
from tests.faults.arena import SESSION_SECONDS

RATE = 200
KEYS = 50
START_SECONDS = 90.0
TERM_SECONDS = 20.0
SETTLE_SECONDS = 8.0
CATCH_UP_SECONDS = 120.0
OPEN_SECONDS = 90.0
"""Longer than the transaction time-out of all."""
HOPELESS = 10
"""So many workers that end by themselves, and the rest is not waited for."""
_LOOK_SECONDS = 0.2
ISOLATIONS: tuple[Isolation, Isolation] = ("read_committed", "read_uncommitted")


@dataclass
class Outcome:
    """What one contestant's run came to; ``left`` events were never committed, ``ended`` workers ended by themselves.

    ``silences`` are seconds, one for each fault; ``stubborn`` workers did not end on TERM. ``tally`` is None for who
    never published anything.
    """

    title: str
    tally: Tally | None = None
    silences: list[float] = field(default_factory=list)
    left: int = 0
    ended: int = 0
    stubborn: int = 0
    errors: list[tuple[str, int]] = field(default_factory=list)


class Contest:
    """Runs a contestant; ``say`` is told what goes on."""

    def __init__(self, arena: Contestant, admin: Admin, say: Callable[[str], None]) -> None:
        self._arena = arena
        self._admin = admin
        self._tell = say
        self._outcome = Outcome(arena.title)

    def run(self, steps: Iterable[Step], seconds: float) -> Outcome:
        """Let two workers count under load while the script happens to them."""
        arena, outcome = self._arena, self._outcome
        try:
            for number in range(WORKERS):
                arena.start(number)
            self._say("waiting for the workers")
            if self._started():
                with arena.load(RATE, KEYS):
                    faults = self._do(steps, seconds)
                    end = time.time()
                self._say("the load is over, catching up")
                self._await(lambda: not self._lag(), CATCH_UP_SECONDS)
                outcome.left = self._lag()
                self._end_all()
                self._await(lambda: not self._open(), OPEN_SECONDS)
                self._count(faults, end)
            outcome.errors = arena.complaints()
        finally:
            arena.stop()
        return outcome

    def _started(self) -> bool:
        """Whether all workers become members of the group. They get time to share it: starting is no fault."""
        self._await(lambda: self._outcome.ended >= HOPELESS or self._members() == WORKERS, START_SECONDS)
        started = self._members() == WORKERS
        if started:
            self._pass(time.monotonic() + SETTLE_SECONDS)
        return started

    def _members(self) -> int:
        try:
            return len(self._admin.members(self._arena.name))
        except Unreachable:  # without a coordinator until a member asks for one
            return 0

    def _say(self, text: str) -> None:
        self._tell(f"{self._arena.title}: {text}")

    def _do(self, steps: Iterable[Step], seconds: float) -> list[float]:
        """Do what the script says. Returns when each fault happened, Unix time."""
        began, faults = time.monotonic(), []
        for step in steps:
            self._pass(began + step.at)
            self._say(f"{step.at:.0f} s of {seconds:.0f}: {step.kind} of worker {step.worker}")
            faults.append(time.time())
            self._fault(step)
        self._pass(began + seconds)
        return faults

    def _fault(self, step: Step) -> None:
        arena, number = self._arena, step.worker
        if step.kind == "pause":
            arena.kill(number, signal.SIGSTOP)
            self._pass(time.monotonic() + 1.5 * SESSION_SECONDS)
            arena.kill(number, signal.SIGCONT)
            return
        arena.kill(number, signal.SIGKILL if step.kind == "kill -9" else signal.SIGTERM)
        self._end(number)
        arena.start(number)

    def _end(self, number: int) -> None:
        """Wait for a worker that was told to end, and see that it does."""
        try:
            self._arena.wait(number, TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self._outcome.stubborn += 1
            self._say(f"worker {number} does not end on TERM, killing it")
            self._arena.kill(number, signal.SIGKILL)
            self._arena.wait(number)

    def _end_all(self) -> None:
        for number in self._arena.workers:
            self._arena.kill(number, signal.SIGTERM)
        for number in self._arena.workers:
            self._end(number)

    def _pass(self, until: float) -> None:
        self._await(lambda: False, until - time.monotonic())

    def _await(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it comes true in time; workers that end by themselves meanwhile are started again."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            for number, worker in self._arena.workers.items():
                if (status := worker.poll()) is not None:
                    self._outcome.ended += 1
                    self._say(f"worker {number} ended by itself with {status}, starting it again")
                    self._arena.start(number)
            time.sleep(_LOOK_SECONDS)
        return True

    def _lag(self) -> int:
        parts = self._arena.parts
        try:
            committed, ends = self._admin.committed(self._arena.name), self._admin.all_bounds(parts)
        except Unreachable:
            return 1
        return sum(ends[tp].end - committed.get(tp, 0) for tp in parts)

    def _open(self) -> bool:
        """Whether a transaction that a worker left behind still hides records that come after it."""
        stable, high = (self._admin.all_bounds(self._arena.written, isolation) for isolation in ISOLATIONS)
        return any(stable[tp].end < high[tp].end for tp in high)

    def _count(self, faults: list[float], end: float) -> None:
        self._say("counting")
        records = self._arena.published()
        values = [msgspec.json.decode(record.value) for record in records]
        stamps: dict[int, list[float]] = defaultdict(list)
        for record in records:
            stamps[record.partition].append(record.timestamp / 1000)
        self._outcome.tally = tally(
            self._arena.sent, self._arena.table(), ((value["key"], value["games"]) for value in values)
        )
        self._outcome.silences = silences(stamps, faults, end, sorted(tp.partition for tp in self._arena.parts))
