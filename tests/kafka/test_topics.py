"""The topics of an app, as its start finds them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from pipeline import App
from pipeline.edges.kafka import plane
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.edges.kafka.topics import prepare
from pipeline.errors import KafkaStateError
from tests.kafka.pipelines import Site, drained, refusal, running, scenario


class Looking(Admin):
    """Counts its looks, and sees nothing at the first few."""

    def __init__(self, kafka: str, blind: int) -> None:
        super().__init__(ClientSettings(kafka))
        self.blind = blind
        self.looks = 0

    def describe(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        self.looks += 1
        return {} if self.looks <= self.blind else super().describe(names)


@pytest.fixture
def app(kafka: str, topic_prefix: str) -> App:
    return Site(kafka, topic_prefix).app()


def test_a_broker_that_has_only_just_started_is_given_time_to_find_its_topics(app: App) -> None:
    admin = Looking(app.brokers, blind=5)
    try:
        (stream,) = app.streams.values()
        assert stream.topic in prepare(admin, app)
    finally:
        admin.close()


def test_a_broker_that_goes_away_while_a_worker_starts_is_waited_for(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was first asked, and is again after two questions without an answer."""
    tries = 0

    def gone_twice(admin: Admin, app: App) -> dict[str, TopicInfo]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unreachable("the broker does not answer", "see that it is up")
        return prepare(admin, app)

    monkeypatch.setattr(plane, "prepare", gone_twice)
    site = Site(kafka, topic_prefix)

    async def work() -> None:
        site.send(3)
        async with running(site.app()) as worker:
            await drained(site, worker)
        assert [output["games"] for output in site.outputs()] == [1, 2, 3]

    scenario(work)
    monkeypatch.setattr(plane, "prepare", lambda admin, app: _never())
    stopped = asyncio.run(refusal(site.app(start_timeout="1s")))
    assert isinstance(stopped, Unreachable)


def _never() -> dict[str, TopicInfo]:
    raise Unreachable("the broker does not answer", "see that it is up")


def test_a_topic_that_nobody_made_is_told_at_once(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix)
    site.admin.delete([site.source])
    other = Site(kafka, f"{topic_prefix}-other")
    admin = Looking(kafka, blind=0)
    try:
        assert other.source in admin.names()
        with pytest.raises(KafkaStateError, match=f"{site.source} does not exist"):
            prepare(admin, site.app())
        assert admin.looks == 1
    finally:
        admin.close()
