"""Who is believed at a restart: the meta record, the group's offset, the topics' ids. Rules F4 to F11, F40, F41."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewPartitions

from operators import Count, MovingMean
from pipeline.edges.kafka import restore
from pipeline.edges.kafka.admin import TopicSpec
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.restore import Restore
from pipeline.edges.kafka.world import World
from pipeline.errors import KafkaStateError
from tests.kafka.clients import unique
from tests.kafka.pipelines import Site, drained, ended, refusal, running, scenario, until


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


async def _folded(site: Site, count: int) -> None:
    """A run of the app that folds this many events and ends."""
    site.send(count)
    async with running(site.app()) as plane:
        await drained(site, plane)


def _games(site: Site) -> list[int]:
    return [output["games"] for output in site.outputs()]


def test_without_committed_offsets_the_state_goes_on_where_it_ends(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
        site.admin.delete_committed(site.name)
        assert site.committed() is None
        await _folded(site, 5)
        assert _games(site) == list(range(1, 11))

    scenario(work)


def test_offsets_that_someone_moved_are_refused_naming_both(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
        site.admin.set_committed(site.name, {site.tp(): 2})
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "ends at 5" in refused.cause
        assert "is at 2" in refused.cause
        assert "reset" in refused.mend
        assert site.committed() == 2
        assert _games(site) == [1, 2, 3, 4, 5]

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
        await _folded(site, 5)
        site.send(1)
        monkeypatch.setattr(restore, "_AGREE_SECONDS", 0.5)
        monkeypatch.setattr(World, "commit_of", stale)
        async with running(site.app()) as plane:
            await drained(site, plane)
        assert asked[0] == OffsetAndMetadata(5, "streamfold")
        assert site.committed() == 6
        assert _games(site) == [1, 2, 3, 4, 5, 6]

    scenario(work)


def test_offsets_of_another_consumer_are_not_taken_over_without_state(site: Site) -> None:
    async def work() -> None:
        site.send(5)
        site.admin.set_committed(site.name, {site.tp(): 3})
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "has no state" in refused.cause
        assert _games(site) == []

    scenario(work)


def test_a_table_added_to_an_app_that_has_run_is_refused_by_name(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
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
        await _folded(site, 5)
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
        await _folded(site, 5)
        producer = KafkaProducer(bootstrap_servers=site.kafka)
        producer.send(f"{site.name}-table-changelog", b"anything", b"R-not-ours").get()
        producer.close()
        assert "did not write" in (await refusal(site.app())).cause

    scenario(work)


def test_a_position_that_retention_has_passed_is_refused_at_the_start(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
        site.send(5)
        await asyncio.to_thread(_delete_records, site, 8)
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "goes on at 5" in refused.cause
        assert "8 to 10" in refused.cause
        assert "retention" in refused.mend
        assert _games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_position_that_retention_passes_after_the_restore_ends_the_worker(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, restored, go_on = Restore.run, asyncio.Event(), asyncio.Event()

    async def held(restore: Restore) -> object:
        found = await original(restore)
        restored.set()
        await go_on.wait()
        return found

    async def work() -> None:
        await _folded(site, 5)
        site.send(5)
        monkeypatch.setattr(Restore, "run", held)
        async with running(site.app()) as plane:
            await restored.wait()
            await asyncio.to_thread(_delete_records, site, 8)
            go_on.set()
            passed = await ended(plane)
        assert isinstance(passed, KafkaStateError)
        assert "OffsetOutOfRange" in passed.cause
        assert "reset" in passed.mend
        assert _games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_source_made_again_is_refused_even_if_it_is_as_long(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
        site.admin.delete([site.source])
        site.admin.create([TopicSpec.source(site.source, 1)])
        site.send(9)
        if site.committed() is None:  # the broker forgets a deleted topic's offsets
            site.admin.set_committed(site.name, {site.tp(): 5})
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "made again" in refused.cause
        assert _games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_source_made_again_under_a_running_worker_ends_it(site: Site) -> None:
    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            await drained(site, plane)
            await asyncio.to_thread(site.admin.delete, [site.source])
            await asyncio.to_thread(site.admin.create, [TopicSpec.source(site.source, 1)])
            gone = await ended(plane)
        assert isinstance(gone, KafkaStateError)
        assert site.source in gone.cause
        assert "reset" in gone.mend

    scenario(work)


@pytest.mark.parametrize("which", ["source", "output"])
def test_a_topic_deleted_under_load_ends_the_worker_and_stays_deleted(site: Site, which: str) -> None:
    topic = site.source if which == "source" else f"{site.name}-table"

    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            await drained(site, plane)
            await asyncio.to_thread(site.admin.delete, [topic])
            if which == "output":
                await asyncio.to_thread(site.send, 5)
            gone = await ended(plane)
        assert isinstance(gone, KafkaStateError)
        assert topic in gone.cause
        assert site.admin.describe([topic]) == {}

    scenario(work)


def test_a_lost_key_is_noticed_at_the_restore(site: Site) -> None:
    async def work() -> None:
        site.send(3, key="a")
        site.send(3, key="b")
        async with running(site.app()) as plane:
            await drained(site, plane)
        producer = KafkaProducer(bootstrap_servers=site.kafka)
        producer.send(f"{site.name}-table-changelog", None, b"Ra").get()
        producer.close()
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "should hold 2 keys, not 1" in refused.cause

    scenario(work)


def test_a_changelog_made_again_between_two_runs_is_noticed(site: Site) -> None:
    changelog = f"{site.name}-table-changelog"

    async def work() -> None:
        await _folded(site, 3)
        site.admin.delete([changelog])
        site.admin.create([TopicSpec.changelog(changelog, 1)])
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "has no state" in refused.cause
        assert "lost changelog" in refused.mend

    scenario(work)


def test_a_source_that_has_grown_stops_the_worker_before_anything_of_it_is_folded(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
        await asyncio.to_thread(_grow, site, 2)
        site.send(3, partition=1)
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "partitions" in refused.cause
        assert _games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_source_that_grows_under_a_running_worker_stops_it(site: Site) -> None:
    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            plane.consumer._client._metadata_max_age_ms = 1_000  # otherwise five minutes
            await drained(site, plane)
            await asyncio.to_thread(_grow, site, 2)
            plane.consumer._client.force_metadata_update()
            grown = await ended(plane)
        assert isinstance(grown, KafkaStateError)
        assert "the source has grown" in grown.cause
        assert _games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_restore_waits_for_a_foreign_transaction_and_then_reads_all(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
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
        assert _games(site) == list(range(1, 11))

    scenario(work)


def test_a_foreign_transaction_that_does_not_end_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.edges.kafka.restore._STALL_SECONDS", 1.0)

    async def work() -> None:
        await _folded(site, 5)
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
        assert _games(site) == list(range(1, 6 if when.startswith("after") else 3))

    scenario(work)


def test_a_first_start_commits_where_it_begins_before_it_reads(site: Site) -> None:
    async def work() -> None:
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 0, "the start is committed", plane)
        assert site.metas()[0]["next_offset"] == 0

    scenario(work)


def test_state_of_a_newer_version_is_refused(site: Site) -> None:
    async def work() -> None:
        await _folded(site, 5)
        producer = KafkaProducer(bootstrap_servers=site.kafka)
        producer.send(f"{site.name}-table-changelog", b'{"format": 99}', b"M").get()
        producer.close()
        assert "newer" in (await refusal(site.app())).mend

    scenario(work)


def _delete_records(site: Site, before: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    admin.delete_records({site.tp(): before})
    admin.close()


def _grow(site: Site, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    admin.create_partitions({site.source: NewPartitions(partitions)})
    admin.close()
