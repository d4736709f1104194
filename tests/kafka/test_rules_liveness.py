"""Rebalances, slow operators and stalled brokers: the pipeline goes on, or ends in time. Rules F6, F12, F22 to F30.

On a broker that makes any topic a client asks for, and takes sessions of two seconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import UnknownError

from operators import LinearAttention, Mean
from operators.operator import Batch, State
from pipeline.core.batch import Floats
from pipeline.core.partition import Partition
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.phase import Phase
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.restore import Restore
from pipeline.edges.kafka.task import FULL_BYTES, PARK_SECONDS
from pipeline.errors import KafkaStateError, RunError
from tests.kafka.pipelines import (
    OPERATORS,
    Site,
    drained,
    ended,
    games,
    refusal,
    running,
    sample,
    scenario,
    until,
)

SESSION_SECONDS = 2.0


@pytest.fixture(scope="module")
def own() -> Iterator[str]:
    properties = {"auto.create.topics.enable": "true", "group.min.session.timeout.ms": "1000"}
    with EmbeddedKafka(properties=properties) as broker:
        yield broker.address


@pytest.fixture
def site(own: str, topic_prefix: str) -> Site:
    return Site(own, topic_prefix)


class Stall:
    """A broker that acknowledges nothing for a while: commits stand still after their writes, fetching goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._over = asyncio.Event()
        self._over.set()
        self.met = asyncio.Event()
        original = Committer.acknowledge

        async def acknowledge(committer: Committer) -> None:
            if not self._over.is_set():
                self.met.set()
            await self._over.wait()
            await original(committer)

        monkeypatch.setattr(Committer, "acknowledge", acknowledge)

    def begin(self) -> None:
        self._over.clear()

    def end(self) -> None:
        self._over.set()


@pytest.mark.timeout(90)
def test_a_changelog_deleted_under_load_ends_the_worker_and_is_not_made_again(site: Site) -> None:
    changelog = f"{site.name}-table-changelog"

    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            await drained(site, plane)
            await asyncio.to_thread(site.admin.delete, [changelog])
            await asyncio.to_thread(site.send, 5)
            stopped = await ended(plane)
        assert isinstance(stopped, KafkaStateError)
        assert changelog in stopped.cause
        assert stopped.mend
        assert site.admin.describe([changelog]) == {}
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_an_error_of_the_coordinator_does_not_stop_the_worker(site: Site) -> None:
    async def work() -> None:
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 0, "it runs", plane)
            async with asyncio.timeout(30):
                await plane.consumer._coordinator._push_error_to_user(UnknownError())
            site.send(5)
            await drained(site, plane)
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_broker_that_never_answers_a_question_ends_the_worker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(Admin, "bounds", lambda *_: answer.wait())

    async def work() -> None:
        try:
            async with running(site.app(broker_timeout="1s")) as plane:
                error = await ended(plane)
        finally:
            answer.set()
        assert isinstance(error, KafkaStateError)
        assert "did not answer within 1 s" in error.cause

    scenario(work)


@pytest.mark.parametrize("callback", ["assign", "revoke"])
def test_what_a_callback_raises_ends_the_worker(site: Site, callback: str) -> None:
    class Broken(Plane):
        pass

    def fail(self: Plane, partitions: object) -> None:
        raise RuntimeError(callback)

    setattr(Broken, callback, fail)

    async def work() -> None:
        async with running(site.app(), Broken) as plane:
            with pytest.raises(RuntimeError, match=callback):
                async with asyncio.timeout(20):
                    await plane.run()

    scenario(work)


def test_a_partition_that_comes_back_goes_on_without_a_restore(site: Site) -> None:
    app = site.app()

    async def work() -> None:
        async with running(app) as first:
            await until(lambda: site.committed() == 0, "it runs", first)
            rebalances, moved = sample(first.metrics, "rebalances_total"), 0
            for _ in range(3):
                async with running(app) as second:
                    site.send(5)
                    await until(lambda: second.consumer.current_assignment() is not None, "it joined", second)
                    moved += bool(second.tasks)
                site.send(5)
            await drained(site, first)
            assert sample(first.metrics, "rebalances_total") >= rebalances + 3
            assert moved < 3, "the assignor never left the partition where it was"
            assert sample(first.metrics, "restores_total", reason="assigned") == 1 + moved
        assert games(site) == list(range(1, 31))

    scenario(work)


@pytest.mark.timeout(120)
def test_a_storm_of_rebalances_shorter_than_a_restore_makes_progress(
    own: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members come and go every second, and every restore takes two."""
    site = Site(own, topic_prefix, partitions=3)
    app = site.app(session_timeout=f"{SESSION_SECONDS}s")
    original = Restore.run

    async def slow(restore: Restore) -> object:
        await asyncio.sleep(2)
        return await original(restore)

    monkeypatch.setattr(Restore, "run", slow)

    async def come_and_go() -> None:
        async with running(app) as guest:
            await asyncio.sleep(1)
            assert guest.watch is not None

    async def work() -> None:
        async with running(app) as stays:
            for partition in range(3):
                site.send(50, partition=partition, key=f"k{partition}")
            for _ in range(6):
                await come_and_go()
            in_the_storm = sum(site.committed(partition) or 0 for partition in range(3))
            await drained(site, stays)
            assert len(stays.tasks) == 3
        assert in_the_storm > 0
        outputs = site.outputs()
        for partition in range(3):
            assert [o["games"] for o in outputs if o["key"] == f"k{partition}"] == list(range(1, 51))

    scenario(work)


@pytest.mark.timeout(120)
def test_a_restore_that_ends_in_another_assignment_seeks_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the partition is restored, its assignment is replaced; nothing is skipped and nothing folded twice."""
    original, restoring, go_on = Restore.run, asyncio.Event(), asyncio.Event()

    async def held(restore: Restore) -> object:
        restoring.set()
        await go_on.wait()
        return await original(restore)

    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            await drained(site, plane)
        site.send(5)
        monkeypatch.setattr(Restore, "run", held)
        async with running(site.app()) as plane:
            await restoring.wait()
            before = plane.consumer.current_assignment()
            async with running(site.app()) as guest:
                await until(lambda: guest.consumer.current_assignment() is not None, "it joined", guest)
                await until(lambda: plane.consumer.current_assignment() not in (None, before), "another assignment")
                go_on.set()
                await drained(site, plane)
            site.send(5)
            await drained(site, plane)
        assert games(site) == list(range(1, 16))

    scenario(work)


@dataclass(frozen=True, kw_only=True)
class Sleeper(Mean):
    """A mean that takes longer than a session the first time it meets a 4."""

    naps: ClassVar[int] = 0

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        if Sleeper.naps == 0 and (batch.columns["value"] == 4).any():
            Sleeper.naps += 1
            time.sleep(2 * SESSION_SECONDS)
        return super().fold(state, batch, each=each)


def test_an_operator_slower_than_the_session_is_not_evicted(site: Site) -> None:
    app = site.app(
        [site.table(operators={**OPERATORS, "slow": Sleeper(value="x")})], session_timeout=f"{SESSION_SECONDS}s"
    )

    async def work() -> None:
        async with running(app) as plane:
            for _ in range(2):  # the first batches are quick: what folds them must not count on the next ones
                site.send(1)
                await drained(site, plane)
            site.send(5)
            await drained(site, plane)
            assert Sleeper.naps == 1
            await asyncio.sleep(SESSION_SECONDS)  # an eviction is noticed with the next heartbeat
            assert sample(plane.metrics, "rebalances_total") == 1
            assert sample(plane.metrics, "fenced_total") == 0
        assert games(site) == list(range(1, 8))

    scenario(work)


@pytest.mark.timeout(120)
def test_a_stalled_broker_bounds_what_waits_and_everything_goes_on_after(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = Stall(monkeypatch)
    fields = tuple(f"x{n}" for n in range(12))
    memory = LinearAttention(key=fields, value=fields, feature_map="identity", publish="state")
    app = site.app([site.table(operators={"memory": memory})])
    output, tp = f"{site.name}-table", site.tp()
    event = b"{" + b",".join(b'"%s":0.123456789' % field.encode() for field in fields) + b"}"

    async def work() -> None:
        async with running(app) as plane:
            await until(lambda: site.committed() == 0, "it runs", plane)
            task = plane.tasks[tp]
            stall.begin()
            await asyncio.to_thread(site.send_raw, [event] * 16_000)
            await until(lambda: task.full, "the outbox is full", plane)
            assert task.partition is not None
            full_at = -1
            while full_at != task.partition.position:  # what was drained already is still folded
                full_at = task.partition.position
                await asyncio.sleep(1)
            await asyncio.to_thread(site.send_raw, [event] * 4_000)
            await asyncio.sleep(1)
            assert task.partition.position == full_at
            # What one drain adds may go over the limit, and no more than that.
            assert task.partition.waiting_bytes < 3 * FULL_BYTES
            stall.end()
            await drained(site, plane)
            assert sample(plane.metrics, "restores_total", reason="assigned") == 1
        assert sample(plane.metrics, "outputs_total", table="table") == 20_000
        assert site.admin.bounds(TopicPartition(output, 0), "read_committed").end >= 20_000

    scenario(work)


@pytest.mark.timeout(120)
def test_a_revocation_does_not_wait_for_a_stalled_commit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stall = Stall(monkeypatch)

    async def work() -> None:
        async with running(site.app()) as first:
            await until(lambda: site.committed() == 0, "it runs", first)
            task = first.tasks[site.tp()]
            stall.begin()
            site.send(5)
            await stall.met.wait()
            began = time.monotonic()
            async with running(site.app()) as second:
                await until(lambda: second.consumer.current_assignment() is not None, "it joined", second)
                assert time.monotonic() - began < 4 * PARK_SECONDS
                assert task.phase is Phase.CLOSED
                stall.end()
                await drained(site, first, second)
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


@pytest.mark.timeout(120)
def test_a_wait_that_a_client_cancels_by_itself_does_not_end_a_task_unseen(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the task it looks as if it had been cancelled, and a task that was is not missed by anyone."""
    cancelled = 0
    original = Restore.run

    async def run(self: Restore) -> tuple[Partition, int | None]:
        nonlocal cancelled
        cancelled += 1
        if cancelled < 3:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            answer.cancel()
            await answer
        return await original(self)

    monkeypatch.setattr(Restore, "run", run)

    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            await drained(site, plane)
        assert games(site) == [1, 2, 3, 4, 5]
        assert cancelled == 3

    scenario(work)


def test_background_work_that_a_client_ends_ends_the_worker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def drain(plane: Plane) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    monkeypatch.setattr(Plane, "_drain", drain)
    stopped = asyncio.run(refusal(site.app()))
    assert isinstance(stopped, RunError)
    assert "drain" in stopped.cause
