"""Topics that are not what they were: cut by retention, made again, deleted, grown, a key lost. Rules F6, F7, F11."""

from __future__ import annotations

import asyncio

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewPartitions

from pipeline.edges.kafka.restore import Restore
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import KafkaStateError
from tests.kafka.pipelines import Site, drained, ended, folded, games, refusal, running, scenario


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


def test_a_position_that_retention_has_passed_is_refused_at_the_start(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        site.send(5)
        await asyncio.to_thread(_delete_records, site, 8)
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "goes on at 5" in refused.cause
        assert "8 to 10" in refused.cause
        assert "retention" in refused.mend
        assert games(site) == [1, 2, 3, 4, 5]

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
        await folded(site, 5)
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
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_source_made_again_is_refused_even_if_it_is_as_long(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        site.admin.delete([site.source])
        site.admin.create([TopicSpec.source(site.source, 1)])
        site.send(9)
        if site.committed() is None:  # the broker forgets a deleted topic's offsets
            site.admin.set_committed(site.name, {site.tp(): 5})
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "made again" in refused.cause
        assert games(site) == [1, 2, 3, 4, 5]

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
        await folded(site, 3)
        site.admin.delete([changelog])
        site.admin.create([TopicSpec.changelog(changelog, 1)])
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "has no state" in refused.cause
        assert "lost changelog" in refused.mend

    scenario(work)


def test_a_source_that_has_grown_stops_the_worker_before_anything_of_it_isfolded(site: Site) -> None:
    async def work() -> None:
        await folded(site, 5)
        await asyncio.to_thread(_grow, site, 2)
        site.send(3, partition=1)
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "partitions" in refused.cause
        assert games(site) == [1, 2, 3, 4, 5]

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
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def _delete_records(site: Site, before: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    admin.delete_records({site.tp(): before})
    admin.close()


def _grow(site: Site, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    admin.create_partitions({site.source: NewPartitions(partitions)})
    admin.close()
