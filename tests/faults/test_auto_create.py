"""A broker that makes any topic that a client names: none of ours makes one so, and none made so is taken for ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import KafkaStateError
from tests.kafka.pipelines import Site, drained, ended, refusal, running, scenario


@pytest.fixture(scope="module")
def generous() -> Iterator[str]:
    with EmbeddedKafka(properties={"auto.create.topics.enable": "true"}) as broker:
        yield broker.address


@pytest.fixture
def site(generous: str, topic_prefix: str) -> Iterator[Site]:
    yield Site(generous, topic_prefix)
    Site.close_all()


def test_a_missing_source_is_refused_and_stays_missing(site: Site) -> None:
    site.admin.delete([site.source])

    async def work() -> None:
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert site.source in refused.cause
        assert site.admin.describe([site.source]) == {}

    scenario(work)


@pytest.mark.parametrize("role", ["source", "changelog", "output"])
def test_a_topic_deleted_under_a_worker_ends_it_and_is_not_made_again(site: Site, role: str) -> None:
    topic = {"source": site.source, "changelog": f"{site.name}-table-changelog", "output": f"{site.name}-table"}[role]

    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            plane.consumer._client._metadata_max_age_ms = 500  # otherwise five minutes
            await drained(site, plane)
            await asyncio.to_thread(site.admin.delete, [topic])
            if role != "source":
                await asyncio.to_thread(site.send, 5)
            gone = await ended(plane)
        assert isinstance(gone, KafkaStateError)
        assert topic in gone.cause
        assert site.admin.describe([topic]) == {}

    scenario(work)


def test_a_changelog_that_the_broker_made_by_itself_is_refused(site: Site) -> None:
    """It deletes what is old, instead of compacting."""

    async def work() -> None:
        site.admin.create([TopicSpec(f"{site.name}-table-changelog", 1, 1, {})])
        site.send(5)
        refused = await refusal(site.app())
        assert isinstance(refused, KafkaStateError)
        assert "cleanup.policy" in refused.cause
        assert site.committed() is None

    scenario(work)
