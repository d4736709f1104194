"""Who is believed at a restart: the meta record, the group's offset, the end of the log. Rules F4, F5, F9, F40, F41."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from kafka import KafkaProducer

from operators import Count, MovingMean
from pipeline.edges.kafka import restore
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.restore import Restore, read_log
from pipeline.edges.kafka.world import World
from pipeline.errors import KafkaStateError
from tests.kafka.clients import unique
from tests.kafka.pipelines import Site, drained, folded, games, refusal, running, sample, scenario, until


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


def test_without_committed_offsets_the_state_goes_on_where_it_ends(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        site.admin.delete_committed(site.name)
        assert site.committed() is None
        await folded(site, 5)
        assert games(site) == list(range(1, 11))

    scenario(work)


def test_offsets_that_someone_moved_are_refused_naming_both(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        site.admin.set_committed(site.name, {site.tp(): 2})
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "ends at 5" in refused.cause
        assert "is at 2" in refused.cause
        assert "reset" in refused.mend
        assert site.committed() == 2
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_restore_that_slept_while_another_committed_is_superseded_and_begins_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[TopicPartition] = []
    commit_of = World.commit_of

    async def asleep(world: World, tp: TopicPartition) -> OffsetAndMetadata | None:
        """The changelog is read, the offset is not: for so long that the group gives the partition to another."""
        if not slept:
            slept.append(tp)
            other = Committer(world.settings, world.app.group, tp, world.deadlines, world.limits)
            await other.fence()
            partition, _ = await Restore(world, site.stream, tp, other.transactional_id).run()
            async with aclosing(read_log(world.settings, tp, partition.position, 8)) as batches:
                async for batch in batches:
                    partition.fold(batch)
            await other.commit(partition.cut())
            await other.close()
        return await commit_of(world, tp)

    async def work() -> None:
        await folded(site, 5)
        site.send(3)
        monkeypatch.setattr(World, "commit_of", asleep)
        async with running(site.app()) as plane:
            await until(lambda: sample(plane.metrics, "fenced_total") == 1, "it hears that it was fenced", plane)
            site.send(2)
            await drained(site, plane)
        assert games(site) == list(range(1, 11))

    scenario(work)


def test_an_own_offset_from_before_the_states_is_one_that_the_coordinator_has_not_caught_up_with(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[OffsetAndMetadata | None] = []
    commit_of = World.commit_of

    async def stale(world: World, tp: TopicPartition) -> OffsetAndMetadata | None:
        found = await commit_of(world, tp)
        asked.append(found)
        return found if found is None or found.offset != 5 else OffsetAndMetadata(2, found.metadata)

    async def work() -> None:
        await folded(site, 5)
        site.send(1)
        monkeypatch.setattr(restore, "_AGREE_SECONDS", 0.5)
        monkeypatch.setattr(World, "commit_of", stale)
        async with running(site.app()) as plane:
            await drained(site, plane)
        assert asked[0] == OffsetAndMetadata(5, "streamfold")
        assert site.committed() == 6
        assert games(site) == [1, 2, 3, 4, 5, 6]

    scenario(work)


def test_offsets_of_another_consumer_are_not_taken_over_without_state(site: Site) -> None:
    async def work() -> None:
        site.send(5)
        site.admin.set_committed(site.name, {site.tp(): 3})
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "has no state" in refused.cause
        assert games(site) == []

    scenario(work)


def test_a_table_added_to_an_app_that_has_run_is_refused_by_name(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        refused = await refusal(site.app([site.table(), site.table("later")]))
        assert isinstance(refused, KafkaStateError)
        assert "table later has no state" in refused.cause
        assert "reset" in refused.mend
        assert site.outputs("later") == []

    scenario(work)


def test_tables_whose_states_end_at_different_offsets_are_refused(site: Site) -> None:
    both = [site.table("one"), site.table("two")]

    async def work() -> None:
        site.send(3)
        async with running(site.app(both)) as plane:
            await drained(site, plane)
        site.send(3)
        async with running(site.app(both[:1])) as plane:
            await drained(site, plane)
        refused = await refusal(site.app(both))
        assert isinstance(refused, KafkaStateError)
        assert "[3, 6]" in refused.cause

    scenario(work)


def test_changed_operators_are_refused_and_nothing_is_written(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        before = site.metas()
        site.send(1)
        refused = await refusal(
            site.app([site.table(operators={"games": Count(), "average": MovingMean(value="x", window=3)})])
        )
        assert isinstance(refused, KafkaStateError)
        assert "operators of table table changed" in refused.cause
        assert "reset" in refused.mend
        assert site.metas() == before
        assert site.committed() == 5

    scenario(work)


def test_a_foreign_record_in_the_changelog_is_refused(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        producer = KafkaProducer(bootstrap_servers=site.kafka)
        producer.send(f"{site.name}-table-changelog", b"anything", b"R-not-ours").get()
        producer.close()
        assert "did not write" in (await refusal(site.app())).cause

    scenario(work)


def test_a_restore_waits_for_a_foreign_transaction_and_then_reads_all(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        producer = await TransactionalProducer.fence(ClientSettings(site.kafka), unique("foreign"))
        await producer.begin()
        await producer.append(f"{site.name}-table-changelog", 0, [b"R-foreign"], [b"x"])
        await producer.acknowledge()
        site.send(5)
        async with running(site.app()) as plane:
            await until(lambda: bool(plane.tasks), "a task", plane)
            await asyncio.sleep(1.5)
            assert not any(task.ready for task in plane.tasks.values())
            await producer.abort()
            await producer.close()
            await drained(site, plane)
        assert games(site) == list(range(1, 11))

    scenario(work)


def test_a_foreign_transaction_that_does_not_end_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.edges.kafka.restore._STALL_SECONDS", 1.0)

    async def work() -> None:
        await folded(site, 5)
        producer = await TransactionalProducer.fence(ClientSettings(site.kafka), unique("foreign"))
        await producer.begin()
        await producer.append(f"{site.name}-table-changelog", 0, [b"R-foreign"], [b"x"])
        await producer.acknowledge()
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "foreign transaction" in refused.cause
        await producer.abort()
        await producer.close()

    scenario(work)


@pytest.mark.parametrize("when", ["before the first commit", "after the first commit"])
def test_latest_begins_once_wherever_the_first_start_dies(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    site = Site(kafka, topic_prefix, start="latest")
    original: Callable[..., object] = Committer.end

    async def die(committer: Committer) -> None:
        if when.startswith("after"):
            await original(committer)  # type: ignore[misc]
        raise KafkaStateError("killed")

    async def work() -> None:
        site.send(4)
        with monkeypatch.context() as patch:
            patch.setattr(Committer, "end", die)
            assert (await refusal(site.app())).cause == "killed"
        begun = site.committed()
        assert begun == (4 if when.startswith("after") else None)
        site.send(3)
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 7, "the end is committed", plane)
            site.send(2)
            await drained(site, plane)
        # Begun at 4, the three events in between count; not begun at all, it begins where the end is now.
        assert games(site) == list(range(1, 6 if when.startswith("after") else 3))

    scenario(work)


def test_a_first_start_commits_where_it_begins_before_it_reads(site: Site) -> None:
    async def work() -> None:
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 0, "the start is committed", plane)
        assert site.metas()[0]["next_offset"] == 0

    scenario(work)


def test_state_of_a_newer_version_is_refused(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        producer = KafkaProducer(bootstrap_servers=site.kafka)
        producer.send(f"{site.name}-table-changelog", b'{"format": 99}', b"M").get()
        producer.close()
        assert "newer" in (await refusal(site.app())).mend

    scenario(work)
