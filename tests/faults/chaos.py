"""All faults that a running system meets, at random and one over another, each choice from the arena's seed."""

from __future__ import annotations

import heapq
import itertools
import math
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

from pipeline.edges.broker import EmbeddedKafka
from pipeline.errors import RunError
from tests.faults.arena import SESSION_SECONDS, Arena
from tests.faults.web import get
from tests.faults.worker import POINTS

CREW = (0, 1)
MOST_WORKERS = 3
LEAVE_SECONDS = 30
"""A worker that was asked to leave is wrong to be there after so long; it gives itself ten seconds."""

UNFINISHED = "stopped before all that was folded could be committed"
"""A worker that leaves says so, and ends with 1, if the broker does not take its last commit."""

RECOVERY_SECONDS = 15
"""For so long after it was away a broker may take no commits: it loads its coordinators."""

GAPS_SECONDS = ((0.2, 3), (0.2, 3), (0.2, 3), (4, 10))
"""Between two faults: most strike while what the last one did is being mended, some hit a system in full work."""

WEIGH_SECONDS = 5
LOOK_SECONDS = 2

NOT_LOADED = "Failed to load metadata from __consumer_offsets"
"""A broker that says so in its log has no coordinator for the group any more, until it is restarted (Kafka 4.1)."""

MENDED = "broker restarted, as its group coordinator had failed by itself"

POINTED = 0.5
"""The part of the workers that kill themselves at a named point, sooner or later."""


class Chaos:
    """Strikes the workers of an arena and its broker. ``spared`` workers are only stopped for a while, never ended."""

    def __init__(self, arena: Arena, broker: EmbeddedKafka) -> None:
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self.spared: set[int] = set()
        self.last = time.monotonic()
        """When the last fault was over."""
        self.peak_bytes = 0
        """The most that any worker has taken."""
        self.spared_bytes: list[int] = []
        """What the spared workers took, in the order of time."""
        self._weigh_at = 0.0
        self._mend_at = 0.0
        self._not_loaded = 0
        self._arena = arena
        self._broker = broker
        self._random: random.Random = arena.random
        self._wanted = set(CREW)
        self._paused: set[int] = set()
        self._leaving: dict[subprocess.Popen[bytes], float] = {}
        self._killed: set[subprocess.Popen[bytes]] = set()
        self._points: dict[subprocess.Popen[bytes], str] = {}
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._broker_whole = True
        self._away_at = -math.inf
        self._unfinished = 0
        self._storm = False
        self._calm = False
        self._kinds: dict[Callable[[], bool], int] = {
            self._kill: 6, self._terminate: 3, self._pause: 3, self._join_or_leave: 2, self._begin_storm: 1,
            self._kill_broker: 1, self._restart_broker: 1, self._pause_broker: 2,
        }  # fmt: skip
        for number in CREW:
            arena.start(number)

    def burst(self, faults: int) -> None:
        """At least so many faults, a second or two apart, each for as long as it takes; all is over when it returns."""
        end = self.faults.total() + faults
        while self.faults.total() < end:
            self.rest(self._random.uniform(*self._random.choice(GAPS_SECONDS)))
            strike, *_ = self._random.choices(list(self._kinds), weights=list(self._kinds.values()))
            strike()
        while self._agenda:
            self.rest(0.1)

    def look(self) -> None:
        """See who ended, whether it was to be expected, and start who is missing."""
        now = time.monotonic()
        if not self._broker_whole:
            self._away_at = now
        for number, process in list(self._arena.workers.items()):
            if (code := process.poll()) is None:
                if now > self._leaving.get(process, now):
                    self.violations.append(f"worker {number} did not leave within {LEAVE_SECONDS} s")
                    self._end(number)
                continue
            self._judge(number, process, code)
            del self._arena.workers[number]
            self._paused.discard(number)
        for number in sorted(self._wanted - self._arena.workers.keys()):
            self._start(number)

    def rest(self, seconds: float) -> None:
        """Let time pass without a new fault."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            while self._agenda and self._agenda[0][0] <= now:
                heapq.heappop(self._agenda)[2]()
                self.last = time.monotonic()
            self.look()
            self._weigh(now)
            time.sleep(0.05)

    def mend_broker(self) -> bool:
        """Restart a broker that can't go on by its own fault; whether that was needed."""
        now = time.monotonic()
        if now < self._mend_at or not self._broker_whole:
            return False
        self._mend_at = now + LOOK_SECONDS
        said = self._broker.log_path.read_text(errors="replace").count(NOT_LOADED)
        if said <= self._not_loaded:
            return False
        self._not_loaded = said
        self._take_broker_away(MENDED, self._broker.stop)
        return True

    def leave_one(self) -> int:
        """End all workers at once and start one that nothing befalls; it restores everything. Returns its number."""
        self._calm = True
        self._wanted = {CREW[0]}
        for number, process in self._arena.workers.items():
            if process.poll() is None:
                self._end(number)
        for process in self._arena.workers.values():
            process.wait()
        self.look()
        return CREW[0]

    def question(self) -> dict[int, str]:
        """What each worker says of its health; what its tasks wait for goes to the log."""
        said = {}
        for number, process in self._arena.workers.items():
            process.send_signal(signal.SIGUSR1)
            try:
                said[number] = get(self._arena.ports[number], "/readyz")
            except HTTPError as answer:
                said[number] = answer.read().decode()
            except OSError as error:
                said[number] = str(error)
        return said

    def _weigh(self, now: float) -> None:
        """Note what the workers take, every few seconds."""
        if now < self._weigh_at:
            return
        self._weigh_at = now + WEIGH_SECONDS
        found = {number: resident(process.pid) for number, process in self._arena.workers.items()}
        self.peak_bytes = max([self.peak_bytes, *found.values()])
        for number in self.spared:
            self.spared_bytes.append(found[number])

    def _later(self, seconds: float, do: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._numbers), do))

    def _count(self, kind: str) -> None:
        self.faults[kind] += 1
        self.last = time.monotonic()

    def _judge(self, number: int, process: subprocess.Popen[bytes], code: int) -> None:
        point = self._points.pop(process, None)
        if process in self._killed and code == -signal.SIGKILL:
            self._killed.discard(process)
        elif point is not None and code == -signal.SIGKILL:
            self._count(f"kill -9 {point}")
        # TERM kills a worker that has not begun: it had nothing to drain.
        elif not (process in self._leaving and (code in (0, -signal.SIGTERM) or self._is_unfinished(process, code))):
            self.violations.append(f"worker {number} ended with {code}")
        self._leaving.pop(process, None)

    def _is_unfinished(self, process: subprocess.Popen[bytes], code: int) -> bool:
        """Whether the broker may have kept a worker that leaves from its last commit, and the worker told so."""
        asked = self._leaving[process] - LEAVE_SECONDS
        if code != RunError.exit_code or self._away_at < asked - RECOVERY_SECONDS:
            return False
        before, self._unfinished = self._unfinished, self._arena.times_said(UNFINISHED)
        return self._unfinished > before

    def _start(self, number: int) -> None:
        if not self._calm and number not in self.spared and self._random.random() < POINTED:
            point = self._random.choice(list(POINTS))
            self._arena.start(number, point, self._random.randint(1, 40))
            self._points[self._arena.workers[number]] = point
        else:
            self._arena.start(number)

    def _end(self, number: int) -> None:
        self._killed.add(self._arena.workers[number])
        self._arena.kill(number, signal.SIGKILL)

    def _ask_to_leave(self, number: int) -> None:
        process = self._arena.workers[number]
        self._leaving[process] = time.monotonic() + LEAVE_SECONDS
        process.send_signal(signal.SIGTERM)

    def _some(self, *, also_spared: bool = False) -> int | None:
        """A worker that runs."""
        some = [
            number
            for number, process in sorted(self._arena.workers.items())
            if process not in self._leaving
            and process.poll() is None
            and number not in self._paused
            and (also_spared or number not in self.spared)
        ]
        return self._random.choice(some) if some else None

    # The faults; each says whether it could strike

    def _kill(self) -> bool:
        if (number := self._some()) is None:
            return False
        self._count("kill -9 of a worker, at any time")
        self._end(number)
        return True

    def _terminate(self) -> bool:
        # Without a broker it can't commit what it is asked to commit.
        if (number := self._some()) is None or not self._broker_whole:
            return False
        self._count("TERM to a worker")
        self._ask_to_leave(number)
        return True

    def _pause(self) -> bool:
        """Past the session time-out: its partitions go to others, and it wakes up as their former owner."""
        if (number := self._some(also_spared=True)) is None:
            return False
        self._count("worker stopped past its session, woken again")
        process = self._arena.workers[number]
        self._paused.add(number)
        process.send_signal(signal.SIGSTOP)

        def wake() -> None:
            process.send_signal(signal.SIGCONT)
            if self._arena.workers.get(number) is process:
                self._paused.discard(number)

        self._later(SESSION_SECONDS * self._random.uniform(1.2, 2), wake)
        return True

    def _join_or_leave(self) -> bool:
        if len(self._wanted) == MOST_WORKERS or (len(self._wanted) > 1 and self._random.random() < 0.5):
            return self._leave()
        return self._join()

    def _join(self) -> bool:
        free = sorted(set(range(MOST_WORKERS)) - self._wanted)
        if not free:
            return False
        self._count("worker joins")
        self._wanted.add(free[0])
        return True

    def _leave(self) -> bool:
        number = self._some()
        if number is None or len(self._wanted & self._arena.workers.keys()) < 2 or not self._broker_whole:
            return False
        self._count("worker leaves")
        self._wanted.discard(number)
        self._ask_to_leave(number)
        return True

    def _begin_storm(self) -> bool:
        """From one worker to three and back, one every few seconds, twice."""
        if self._storm:
            return False
        self._storm = True
        at = 0.0
        for change in 2 * [self._join, self._join, self._leave, self._leave]:
            at += self._random.uniform(2, 5)
            self._later(at, change)

        def end() -> None:
            self._storm = False

        self._later(at, end)
        return True

    def _kill_broker(self) -> bool:
        return self._take_broker_away("kill -9 of the broker", self._broker.kill)

    def _restart_broker(self) -> bool:
        return self._take_broker_away("broker restarted", self._broker.stop)

    def _take_broker_away(self, kind: str, how: Callable[[], None]) -> bool:
        if not self._broker_whole:
            return False
        self._count(kind)
        self._broker_whole = False
        how()

        def back() -> None:
            self._broker.start(timeout=120)
            self._broker_whole = True

        self._later(self._random.uniform(0.2, 6), back)
        return True

    def _pause_broker(self) -> bool:
        if not self._broker_whole:
            return False
        self._count("broker stopped for seconds, woken again")
        self._broker_whole = False
        os.kill(self._broker.pid, signal.SIGSTOP)

        def wake() -> None:
            os.kill(self._broker.pid, signal.SIGCONT)
            self._broker_whole = True

        self._later(self._random.uniform(1, 12), wake)
        return True


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
