"""A task owns one source partition with all tables of its topic.

Its life: fence -> restore -> run -> (commit)* -> park or close.

A partition that is revoked is *parked*: committed, and kept with its state and its fence. If it comes back and nobody
committed in between, the task goes on; if it goes to another worker, it is closed. Whatever goes wrong with a commit,
the cut is kept until it is known whether it went through: then it is done, or sent again, or the state is restored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from aiokafka import TopicPartition

from pipeline.core.partition import Cut, GapError, Partition
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.consumer import EVENTS_A_DRAIN, Drained
from pipeline.edges.kafka.errors import Failed, Fenced, InDoubt, Superseded, Unreachable
from pipeline.edges.kafka.fold_lock import FoldLock
from pipeline.edges.kafka.phase import Phase
from pipeline.edges.kafka.restore import Restore
from pipeline.edges.kafka.troubles import Troubles
from pipeline.edges.kafka.world import World, asked_to_end
from pipeline.errors import KafkaStateError, StreamfoldError

log = logging.getLogger(__name__)

T = TypeVar("T")

FULL_BYTES = 32 * 1024 * 1024
BARE_MOVE_SECONDS = 5.0
PARK_SECONDS = 5.0
CLOSE_SECONDS = 3.0
LOOP_STEP_SECONDS = 0.05
_HIDDEN_SECONDS = 1.0
"""How long a commit that a fence has finished may stay hidden: older brokers finish it a moment before that."""
_AGAIN_SECONDS = 0.1


class Task:
    """The owner of one source partition."""

    def __init__(self, world: World, tp: TopicPartition) -> None:
        self.tp = tp
        self.phase = Phase.WAITING
        self.assignment: object | None = None
        self.partition: Partition | None = None
        self.committed: int | None = None
        self.restore: Restore | None = None
        self._world = world
        self._stream = world.stream_of(tp.topic)
        self._committer = Committer(world.settings, world.app.group, tp, world.deadlines, world.limits, lull=world.lull)
        self._folding = FoldLock()
        self._work = asyncio.Event()
        self._assigned = asyncio.Event()
        self._leaving = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiting = deque[Drained]()
        self._slow = True
        self._in_flight: Cut | None = None
        self._last_commit = 0.0
        self._troubles = Troubles(self.name, self._committer, world)
        self._broken: Exception | None = None
        self._life: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    # What the plane asks of it

    def assign(self, assignment: object) -> None:
        """The partition is ours, by this assignment. Returns at once; the rest happens in the background."""
        self.assignment = assignment
        self._leaving.clear()
        self._assigned.set()
        if self._life is None:
            self._life = self._world.spawn(self._live(), name=f"task {self.tp.topic}-{self.tp.partition}")

    async def park(self) -> None:
        """The partition is revoked: commit what is folded and keep everything, or give up the state, within a bound."""
        self.assignment = None
        self._assigned.clear()
        self._leaving.set()
        self._work.set()
        try:
            async with asyncio.timeout(PARK_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%s could not be committed within %s s of its revocation", self.name, PARK_SECONDS)
            self._begin_to_end()

    async def close(self) -> None:
        """End the task; what is not committed is dropped. The next owner folds it again."""
        await asyncio.wait([self._begin_to_end()])

    def _begin_to_end(self) -> asyncio.Task[None]:
        """Ends once, in the background: a revocation does not wait for it."""
        if self._ending is None:
            self._enter(Phase.CLOSED)
            self._ending = self._world.spawn(self._end(), f"close {self.name}")
        return self._ending

    async def _end(self) -> None:
        self._leaving.set()
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life], timeout=CLOSE_SECONDS)
        await self._committer.abandon()

    @property
    def ready(self) -> bool:
        """Whether it takes events now."""
        return self.phase is Phase.RUNNING and self.assignment is not None and self._broken is None

    @property
    def full(self) -> bool:
        """Whether so much waits to be committed that no more events may be taken."""
        if self.partition is None:
            return True
        in_flight = self._in_flight.nbytes if self._in_flight else 0
        return self.partition.waiting_bytes + in_flight > FULL_BYTES

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""
        return self._in_flight is not None

    @property
    def name(self) -> str:
        """For people: topic-partition."""
        return f"{self.tp.topic}-{self.tp.partition}"

    def enqueue(self, drained: Drained) -> None:
        """Have it folded after what waits already."""
        self._waiting.append(drained)

    async def fold(self) -> None:
        """Fold what waits, if it was drained under the current assignment.

        A batch that can't be folded may have changed the state already: nothing is committed from that any more.
        """
        async with self._folding:
            await self._fold_waiting()
        if self._broken is not None or (self.partition is not None and self.partition.changed):
            self._work.set()

    async def _fold_waiting(self) -> None:
        while self._waiting:
            drained = self._waiting.popleft()
            if self.partition is None or not self.ready or drained.assignment is not self.assignment:
                continue
            try:
                await self._fold(self.partition, drained)
            except Exception as error:
                self._broken = error
            await asyncio.sleep(0)

    async def _fold(self, partition: Partition, drained: Drained) -> None:
        """Fold where it is quickest, on the loop, while that takes no longer than a step of the loop may.

        Slow operators, and those of users, fold in the thread: the heartbeats have to go on.
        """
        siblings, began = self._world.siblings(self.tp), time.monotonic()
        if self._slow:
            await self._world.in_thread(partition.fold, drained.batch, siblings)
        else:
            partition.fold(drained.batch, siblings)
        self._slow = partition.has_foreign_operators or time.monotonic() - began > LOOP_STEP_SECONDS

    async def read(self, work: Callable[[Partition], T], *, brief: bool = False) -> T | None:
        """What ``work`` finds in the state between two folds; None while there is none.

        It is done in the folding thread. What is ``brief`` is done on the loop, which is quicker than to go there for
        it, unless nobody knows how slow the operators are.
        """
        if brief and self.quick_to_read:
            return await self._folding.look(lambda: work(self.partition) if self.partition is not None else None)
        async with self._folding:
            return None if self.partition is None else await self._world.in_thread(work, self.partition)

    @property
    def quick_to_read(self) -> bool:
        """Whether there is a state, and a look at it takes no longer than a step of the loop may."""
        return self.partition is not None and not self.partition.has_foreign_operators

    def read_soon(self, work: Callable[[Partition | None], object]) -> None:
        """Have ``work`` look at the state, if there is one, on the loop: at once or after the fold that is under way.

        It is to be brief, and may not raise.
        """
        self._folding.look_soon(lambda: work(self.partition))

    # Its life

    async def _live(self) -> None:
        try:
            while self.phase is not Phase.CLOSED:
                try:
                    await self._assignment_given()
                    if self.partition is None:
                        await self._own()
                    elif self.phase is Phase.PARKED:
                        await self._reclaim()
                    if self.partition is None or not self._assigned.is_set():
                        continue
                    if self._run():
                        await self._commit_until_revoked()
                        self._enter(Phase.PARKED)
                    else:
                        await asyncio.sleep(_AGAIN_SECONDS)
                except (Superseded, GapError, Failed, InDoubt, Unreachable) as trouble:
                    self._drop_state()
                    await self._troubles.stumble(trouble)
                except StreamfoldError:
                    raise
                except asyncio.CancelledError as error:
                    if asked_to_end():
                        raise
                    self._drop_state()
                    await self._troubles.start_over(error)
                except Exception as error:
                    self._drop_state()
                    await self._troubles.start_over(error)
        finally:
            self._idle.set()

    def _drop_state(self) -> None:
        self.partition = None
        self._enter(Phase.WAITING)

    async def _assignment_given(self) -> None:
        """Wait for the partition; the time without it is not time without progress."""
        if not self._assigned.is_set():
            await self._assigned.wait()
            self._troubles.begin_anew()

    async def _own(self) -> None:
        """Fence the previous owner, and only then read what it left. Leaves no state if the assignment changed."""
        self._enter(Phase.FENCING)
        assignment = self.assignment
        if assignment is None:
            return
        await self._committer.fence()
        if self.assignment is not assignment:
            return
        self._enter(Phase.RESTORING)
        async with self._world.restores:
            self.restore = Restore(self._world, self._stream, self.tp, self._committer.transactional_id)
            try:
                partition, self.committed = await self.restore.run()
            except KafkaStateError as refusal:
                if isinstance(refusal, Failed):
                    raise
                # Another owner may have been writing what was read here: then it was not ours to judge.
                if self.assignment is not assignment:
                    raise Superseded(f"revoked while it was restored: {refusal}") from refusal
                await self._committer.prove_fence()
                raise
            finally:
                self.restore = None
        # Seen by its siblings before it looks at them: of two that are restored at once, one sees the other.
        self.partition, self._broken, self._in_flight = partition, None, None
        await self._world.in_thread(partition.check_siblings, self._world.siblings(self.tp))
        if self.committed is None:
            await self._commit_start(partition)
        self._troubles.begin_anew()

    async def _commit_start(self, partition: Partition) -> None:
        """A first start commits where it begins, so that every later start begins there too."""
        cut = partition.cut()
        await self._committer.commit(cut)
        self.committed = cut.next_offset

    async def _reclaim(self) -> None:
        """Parked, and given back: go on if nobody committed in between."""
        committed = await self._world.committed(self.tp)
        if committed != self.committed:
            raise Superseded(f"parked at {self.committed}, but {committed} is committed")

    def _run(self) -> bool:
        """Seek and take events, in one step of the loop; False if a rebalance has just taken the assignment away."""
        assert self.partition is not None
        if not self._world.consumer.seek_and_resume(self.tp, self.partition.position, self.assignment):
            return False
        self._waiting.clear()
        self._enter(Phase.RUNNING)
        log.info("%s runs from offset %s", self.name, self.partition.position)
        return True

    async def _commit_until_revoked(self) -> None:
        while True:
            await self._wait_for_work()
            leaving = self._leaving.is_set()
            assert self.partition is not None
            if self.partition.moved or self._broken is not None:
                async with self._world.commit_turn():
                    await self._commit()
            if leaving:
                return

    async def _wait_for_work(self) -> None:
        """Until there is something to commit and the interval is over, or the task has to leave."""
        try:
            async with asyncio.timeout(BARE_MOVE_SECONDS):
                await self._work.wait()
        except TimeoutError:
            return
        self._work.clear()
        wait = self._last_commit + self._world.app.commit_interval - time.monotonic()
        if wait > 0 and not self._leaving.is_set():
            try:
                async with asyncio.timeout(wait):
                    await self._leaving.wait()
            except TimeoutError:
                pass

    def _enter(self, phase: Phase) -> None:
        if self.phase is Phase.CLOSED:
            return
        self.phase = phase
        if phase is Phase.RUNNING:
            self._idle.clear()
        else:
            self._idle.set()

    # Committing

    async def _commit(self) -> None:
        cut = self._in_flight = await self._cut()
        began = self._last_commit = time.monotonic()
        while True:
            try:
                if self._committer.must_renew and await self._renew(cut):
                    break
                await self._committer.commit(cut)
                break
            except (Failed, InDoubt) as trouble:
                if await self._settle(cut, trouble):
                    break
        self.committed = cut.next_offset
        self._in_flight = None
        self._troubles.overcome()
        self._world.metrics.committed(self._stream.name, self.tp, cut, time.monotonic() - began)
        for listener in self._world.listeners:
            listener(self.tp, cut)

    async def _cut(self) -> Cut:
        """Step 1: a consistent copy. A fold and a cut exclude each other; what a broken fold left is never cut.

        What has come by now is folded first, if that is quick: else it would wait for the next commit.
        """
        async with self._folding:
            if self.ready and not self.full and not self._slow:
                self._waiting += self._world.consumer.take({self.tp}, limit=EVENTS_A_DRAIN)
                await self._fold_waiting()
            if self._broken is not None:
                raise self._broken
            assert self.partition is not None
            return self.partition.cut()

    async def _settle(self, cut: Cut, trouble: Exception) -> bool:
        """A commit failed, or may have: a new fence settles it.

        Returns whether the cut went through; if not, it is to be sent again.

        Raises:
            Superseded: neither this cut nor the one before it is the last commit, or the partition is another's.
        """
        while True:
            await self._troubles.stumble(trouble)
            if isinstance(trouble, Fenced) and self.assignment is None:
                raise Superseded(f"fenced after the partition was revoked: {trouble}")
            try:
                return await self._renew(cut)
            except (Failed, InDoubt) as again:
                trouble = again

    async def _renew(self, cut: Cut) -> bool:
        """Fence anew, which stops a newer owner as well: whoever it was, nothing but the cut before may be committed.

        Returns whether this cut is committed.

        Raises:
            Superseded: neither this cut nor the one before it is the last commit.
        """
        await self._committer.fence()
        committed = await self._world.committed(self.tp)
        if committed == self.committed != cut.next_offset:
            await asyncio.sleep(_HIDDEN_SECONDS)
            committed = await self._world.committed(self.tp)
        if committed == cut.next_offset:
            return True
        if committed == self.committed:
            return False
        raise Superseded(f"at {cut.next_offset} after {self.committed}, but {committed} is committed")
