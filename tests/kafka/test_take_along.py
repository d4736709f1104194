"""A commit takes along what has come by then, also what waits for its fold or was only fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.edges.kafka import plane as planes
from pipeline.edges.kafka import task as tasks
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.errors import Superseded
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.world import World
from tests.kafka.pipelines import Site, drained, games, running, sample, scenario, until


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


class Gates:
    """Folds that the drain asks for wait, and commits wait for their turn, while their gate is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folds, self.commits = asyncio.Event(), asyncio.Event()
        self.folds.set()
        turn = World.commit_turn

        async def turns(_: int) -> None:
            await self.folds.wait()

        @asynccontextmanager
        async def commit_turn(world: World) -> AsyncIterator[None]:
            await self.commits.wait()
            async with turn(world):
                yield

        monkeypatch.setattr(planes, "_turns", turns)
        monkeypatch.setattr(World, "commit_turn", commit_turn)


async def come(site: Site, plane: Plane, gates: Gates) -> None:
    """One event is folded and waits for its commit, two wait for their fold, three are only fetched."""
    tp = site.tp()
    await until(lambda: site.committed() == 0, "it runs", plane)
    task = plane.tasks[tp]
    site.send(1)
    await until(lambda: task.partition is not None and task.partition.position == 1, "the first is folded", plane)
    gates.folds.clear()
    site.send(2)
    await until(lambda: plane.consumer.fetch_position(tp) == 3, "two are drained", plane)
    site.send(3)
    await until(lambda: tp in plane.consumer._fetcher._records, "three are fetched", plane)
    assert task.partition is not None
    assert task.partition.position == 1


def restores(plane: Plane) -> float:
    return sample(plane.metrics, "restores_total", reason="assigned")


def test_a_commit_takes_along_what_is_drained_and_what_is_fetched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        gates = Gates(monkeypatch)
        async with running(site.app([site.table(emit="every")])) as plane:
            await come(site, plane, gates)
            gates.commits.set()
            await until(lambda: site.committed() == 6, "all are committed while no fold gets its turn", plane)
            gates.folds.set()
            site.send(1)
            await drained(site, plane)
        assert games(site) == list(range(1, 8))

    scenario(work)


@pytest.mark.parametrize("why", ["slow", "full"])
def test_a_commit_waits_for_no_slow_fold_and_takes_no_more_than_there_is_room_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    async def work() -> None:
        gates = Gates(monkeypatch)
        async with running(site.app([site.table(emit="every")])) as plane:
            await come(site, plane, gates)
            if why == "slow":
                plane.tasks[site.tp()]._slow = True
            else:
                monkeypatch.setattr(tasks, "FULL_BYTES", -1)
            gates.commits.set()
            await until(lambda: site.committed() == 1, "what was folded is committed", plane)
            assert plane.consumer.fetch_position(site.tp()) == 3
            monkeypatch.undo()
            gates.folds.set()
            await drained(site, plane)
        assert games(site) == list(range(1, 7))

    scenario(work)


def test_what_waits_for_its_fold_is_forgotten_with_the_state(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        gates, commit = Gates(monkeypatch), Committer.commit

        async def superseded(committer: Committer, cut: object) -> None:
            monkeypatch.setattr(Committer, "commit", commit)
            raise Superseded("someone else committed")

        async with running(site.app([site.table(emit="every")])) as plane:
            await come(site, plane, gates)
            plane.tasks[site.tp()]._slow = True
            monkeypatch.setattr(Committer, "commit", superseded)
            gates.commits.set()
            await until(lambda: restores(plane) == 2 and plane.tasks[site.tp()].ready, "it runs again", plane)
            gates.folds.set()
            await drained(site, plane)
            assert restores(plane) == 2, "what had waited was folded into the state that was restored"
        assert games(site) == list(range(1, 7))

    scenario(work)
