from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from aiokafka import TopicPartition

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.doctor.patience import patiently
from pipeline.edges.kafka.admin import Admin, Bounds
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, Fenced, Unreachable
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.topic_spec import DEAD_LETTER_HEADROOM, TopicSpec
from pipeline.errors import KafkaStateError
from tests.kafka.clients import make_topic, run, unique, write


@pytest.fixture
def admin(kafka: str) -> Iterator[Admin]:
    admin = Admin(ClientSettings(kafka))
    yield admin
    admin.close()


def test_topics_are_made_as_they_should_be(admin: Admin) -> None:
    changelog, every, latest, letters = (unique(word) for word in ("changelog", "every", "latest", "letters"))
    made = admin.create(
        [
            TopicSpec.changelog(changelog, 3),
            TopicSpec.output(every, 3, "every"),
            TopicSpec.output(latest, 4, "commit"),
            TopicSpec.dead_letters(letters, 2, 1_000_000),
        ]
    )
    assert [(made[name].partitions, made[name].cleanup_policy) for name in (changelog, every, latest, letters)] == [
        (3, "compact"),
        (3, "delete"),
        (4, "compact"),
        (2, "delete"),
    ]
    assert made[letters].max_message_bytes == 1_000_000 + DEAD_LETTER_HEADROOM
    assert admin.describe([changelog, unique("nowhere")]) == {changelog: made[changelog]}
    admin.delete([changelog, every, latest, letters])


def test_with_three_replicas_two_have_to_agree() -> None:
    for spec in (
        TopicSpec.changelog("t", 1, 3),
        TopicSpec.output("t", 1, "every", 3),
        TopicSpec.dead_letters("t", 1, 1, 3),
    ):
        assert spec.configs["min.insync.replicas"] == "2"
    assert "min.insync.replicas" not in TopicSpec.changelog("t", 1, 1).configs


def test_two_who_make_the_same_topics_at_once_both_succeed(kafka: str) -> None:
    names = [unique("race") for _ in range(4)]

    def make() -> set[str]:
        admin = Admin(ClientSettings(kafka))
        try:
            return {info.topic_id for info in admin.create(TopicSpec.changelog(name, 2) for name in names).values()}
        finally:
            admin.close()

    with ThreadPoolExecutor(3) as threads:
        first, *others = [future.result() for future in [threads.submit(make) for _ in range(3)]]
    assert len(first) == 4
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("spec", "trouble"),
    [
        (TopicSpec.changelog("", 3), "has 2 partitions instead of 3"),
        (TopicSpec.changelog("", 1), "has 2 partitions instead of 1"),
        (TopicSpec.changelog("", 2), "cleanup.policy delete instead of compact"),
        (TopicSpec.output("", 3, "every"), "has 2 partitions instead of at least 3"),
        (TopicSpec.output("", 2, "commit"), None),
        (TopicSpec.output("", 1, "every"), None),
    ],
)
def test_a_topic_that_is_there_is_compared(kafka: str, admin: Admin, spec: TopicSpec, trouble: str | None) -> None:
    name = make_topic(kafka, 2, {"cleanup.policy": "delete"})
    wanted = TopicSpec(name, spec.partitions, 1, spec.configs, spec.exactly, spec.strict)
    if trouble is None:
        assert admin.create([wanted])[name].partitions == 2
    else:
        with pytest.raises(KafkaStateError, match=trouble) as raised:
            admin.create([wanted])
        assert raised.value.mend


def test_a_topic_that_the_broker_refuses_says_why(admin: Admin) -> None:
    with pytest.raises(KafkaStateError, match="cannot make topic"):
        admin.create([TopicSpec(unique("replicas"), 1, 7, {})])


def test_a_deleted_topic_is_gone_and_comes_back_with_another_id(kafka: str, admin: Admin) -> None:
    name = make_topic(kafka)
    before = admin.describe([name])[name].topic_id
    admin.delete([name, unique("nowhere")])
    assert admin.describe([name]) == {}
    after = admin.create([TopicSpec.source(name, 1)])[name].topic_id
    assert after != before


def test_the_bounds_of_a_partition_differ_by_an_open_transaction(kafka: str, admin: Admin) -> None:
    tp = TopicPartition(make_topic(kafka), 0)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("owner"))
        await write(producer, tp.topic, [b"a", b"b"])
        await write(producer, tp.topic, [b"open"], commit=False)
        assert await asyncio.to_thread(admin.bounds, tp, "read_committed") == Bounds(0, 3)
        assert await asyncio.to_thread(admin.bounds, tp) == Bounds(0, 4)
        await producer.abort()
        await producer.close()

    run(scenario)
    assert admin.all_bounds([]) == {}
    with pytest.raises(KafkaStateError, match="does not exist"):
        admin.bounds(TopicPartition(unique("nowhere"), 0))


def test_offsets_of_a_group_are_set_read_and_deleted(kafka: str, admin: Admin) -> None:
    topic, group = make_topic(kafka, 2), unique("group")
    assert patiently(lambda: admin.committed(group)) == {}
    admin.set_committed(group, {TopicPartition(topic, 1): 17})
    assert admin.committed(group) == {TopicPartition(topic, 1): 17}
    admin.delete_committed(group)
    assert admin.committed(group) == {}
    admin.delete_committed(group)


def test_a_group_with_members_shows_them_and_keeps_its_offsets(kafka: str, admin: Admin) -> None:
    topic, group = make_topic(kafka), unique("group")
    assert admin.members(group) == []

    async def scenario() -> None:
        member = ColumnarConsumer(ClientSettings(kafka), group_id=group)
        await member.start()
        member.subscribe([topic])
        async with asyncio.timeout(20):
            while member.current_assignment() is None:
                await member.drain(set(), limit=1, timeout=0.1)
        (found,) = await asyncio.to_thread(admin.members, group)
        assert found.startswith("streamfold at ")
        with pytest.raises(KafkaStateError, match="cannot delete"):
            await asyncio.to_thread(admin.delete_committed, group)
        with pytest.raises(KafkaStateError, match="cannot set"):
            await asyncio.to_thread(admin.set_committed, group, {TopicPartition(topic, 0): 1})
        await member.shutdown()
        assert await asyncio.to_thread(admin.members, group) == []

    run(scenario)


def test_fencing_ends_the_transactions_of_the_ids_and_their_owners(kafka: str, admin: Admin) -> None:
    tp = TopicPartition(make_topic(kafka), 0)
    owners = [unique("owner") for _ in range(3)]

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(kafka), owners[1])
        await write(producer, tp.topic, [b"stale"], commit=False)
        await asyncio.to_thread(admin.fence, owners)
        with pytest.raises(Fenced):
            await producer.commit()
        await producer.close()
        stable = await asyncio.to_thread(admin.bounds, tp, "read_committed")
        assert stable == await asyncio.to_thread(admin.bounds, tp)

    run(scenario)


def test_no_broker_is_said_in_time_and_is_worth_another_try() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"no broker at 127\.0\.0\.1:1 within 1 s") as raised:
        Admin(ClientSettings("127.0.0.1:1"), timeout=1).describe(["any"])
    assert time.monotonic() - began < 10
    assert isinstance(raised.value, Failed)
    assert raised.value.exit_code == 3
    assert raised.value.mend
    assert not raised.value.lasting


def test_a_topic_is_made_as_soon_as_there_is_a_broker_to_place_it_on() -> None:
    """A broker that is late to be heard again, as on a machine that is held up, says meanwhile that there is none."""
    seldom = {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "3000"}
    with EmbeddedKafka(properties=seldom) as broker, closing(Admin(ClientSettings(broker.address))) as admin:
        for number in range(5):
            assert admin.create([TopicSpec.source(f"late-{number}", 1)])
            time.sleep(0.7)
