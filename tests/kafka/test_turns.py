"""Commits take turns, and a fold leaves them some turns of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.core.partition import Cut
from pipeline.edges.kafka import world
from pipeline.edges.kafka.commit import Committer, transactional_id
from pipeline.edges.kafka.consumer import EVENTS_A_DRAIN
from pipeline.edges.kafka.plane import Plane, _turns
from pipeline.edges.kafka.task import Task
from tests.kafka.pipelines import Site, drained, running, scenario, until

PARTITIONS = 4


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix, PARTITIONS)


async def started(site: Site, plane: Plane) -> None:
    """Each partition has committed where it begins."""
    parts = range(PARTITIONS)
    await until(lambda: all(site.committed(partition) == 0 for partition in parts), "it runs", plane)


def test_one_commit_is_under_way_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most, count, original = 0, 0, 0, Committer.commit

    async def commit(committer: Committer, cut: Cut) -> None:
        nonlocal under_way, most, count
        under_way, count = under_way + 1, count + 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        await original(committer, cut)
        under_way -= 1

    async def work() -> None:
        async with running(site.app()) as plane:
            await started(site, plane)
            monkeypatch.setattr(Committer, "commit", commit)
            for _ in range(5):
                for partition in range(PARTITIONS):
                    site.send(10, partition=partition)
                await drained(site, plane)
        assert count >= PARTITIONS
        assert most == 1

    monkeypatch.setattr(world, "TURN_SECONDS", 30.0)  # no commit takes that long
    scenario(work)


def test_lulls_come_within_a_commit_and_after_the_last_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen, cut = list[bool](), list[bool](), Task._cut

    async def noted(task: Task) -> Cut:
        made.append(plane_of[0].committing)
        return await cut(task)

    async def work() -> None:
        async with running(site.app()) as plane:
            plane_of.append(plane)
            await started(site, plane)
            await until(lambda: not plane.committing, "nothing is committed", plane)
            await asyncio.sleep(0.1)
            monkeypatch.setattr(Task, "_cut", noted)
            plane.lulls.append(lambda: seen.append(plane.committing))
            site.send(10)
            await drained(site, plane)
            await until(lambda: seen[-1:] == [False], "there is no commit any more", plane)
            assert len(made) >= 1
            assert all(made), "who is about to cut commits already"
            assert seen.count(True) >= 2 * len(made)

    plane_of = list[Plane]()
    scenario(work)


def test_a_commit_that_hangs_holds_up_no_other_partition(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    over, met, original, fence = asyncio.Event(), asyncio.Event(), Committer.acknowledge, Committer.fence
    stalled, fenced = transactional_id(site.name, site.tp(0)), list[str]()

    async def noted(committer: Committer) -> None:
        fenced.append(committer.transactional_id)
        await fence(committer)

    async def acknowledge(committer: Committer) -> None:
        if committer.transactional_id == stalled:
            met.set()
            await over.wait()
        await original(committer)

    async def work() -> None:
        async with running(site.app()) as plane:
            await started(site, plane)
            monkeypatch.setattr(Committer, "acknowledge", acknowledge)
            monkeypatch.setattr(Committer, "fence", noted)
            site.send(5)
            await asyncio.wait_for(met.wait(), 60)
            for partition in range(1, PARTITIONS):
                site.send(5, partition=partition)
                await until(lambda: site.committed(partition) == 5, "the others go on", plane)  # noqa: B023
            assert site.committed(0) == 0
            assert not over.is_set()
            over.set()
            await drained(site, plane)
            site.send(5)
            await drained(site, plane)
            assert fenced == [], "nobody gave back the turn of another: it would have to start over"

    scenario(work)


def test_a_task_knows_its_own_end_from_that_of_what_it_waits_for() -> None:
    async def work() -> None:
        found: list[bool] = []

        async def wait(what: asyncio.Future[None]) -> None:
            try:
                await what
            except asyncio.CancelledError:
                found.append(world.asked_to_end())

        loop = asyncio.get_running_loop()
        ours, theirs = loop.create_future(), loop.create_future()
        waiting = [asyncio.create_task(wait(what)) for what in (ours, theirs)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        theirs.cancel()
        await asyncio.wait(waiting)
        assert found == [True, False]

    asyncio.run(work())


def test_a_fold_leaves_commits_some_turns_and_fewer_if_more_events_wait_behind_it() -> None:
    async def turns(events: int) -> int:
        seen, loop = 0, asyncio.get_running_loop()

        def see() -> None:
            nonlocal seen
            seen += 1
            loop.call_soon(see)

        loop.call_soon(see)
        await _turns(events)
        return seen

    found = [asyncio.run(turns(events)) for events in (EVENTS_A_DRAIN + 1, EVENTS_A_DRAIN, EVENTS_A_DRAIN - 1, 1)]
    assert found[0] == found[1] > 0
    assert found[2] == found[3] > 2 * found[1]
