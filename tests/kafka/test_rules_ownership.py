"""Who owns what, under which name, and what a key is. Rules F1 to F3, F38, F40."""

from __future__ import annotations

import asyncio
import json

import pytest

from operators import Count
from pipeline import App, Stream, Table
from pipeline.edges.host.app import FaustApp
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import KafkaStateError
from tests.kafka.pipelines import Site, drained, ended, refusal, running, sample, scenario, until


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    """A topic of two partitions whose key is a field."""
    return Site(kafka, topic_prefix, partitions=2, key="who")


def test_two_streams_on_one_worker_and_on_two_never_fence_each_other(kafka: str, topic_prefix: str) -> None:
    streams = {name: Stream(name, topic=f"{topic_prefix}-{name}") for name in ("scores", "machine")}
    counts = {"scores": 4, "machine": 3}
    tables = [Table(f"of-{name}", stream=stream, operators={"games": Count()}) for name, stream in streams.items()]
    app = App(topic_prefix, tables=tables, brokers=kafka, session_timeout="6s", commit_interval="20ms")
    sites = {name: Site(kafka, topic_prefix) for name in streams}

    def send() -> None:
        for name, site in sites.items():
            for partition in range(counts[name]):
                site.send(20, partition=partition)

    async def work() -> None:
        for name, site in sites.items():
            site.source, site.partitions = f"{topic_prefix}-{name}", counts[name]
            site.admin.create([TopicSpec.source(site.source, counts[name])])
        async with running(app) as first:
            await asyncio.to_thread(send)
            for site in sites.values():
                await drained(site, first)
            async with running(app) as second:
                await until(lambda: len(first.tasks) + len(second.tasks) == 7, "two owners of seven", first)
                await until(lambda: all(task.ready for task in second.tasks.values()), "they run", second)
                await asyncio.to_thread(send)
                for site in sites.values():
                    await drained(site, first)
                assert first.tasks.keys().isdisjoint(second.tasks)
                assert sample(first.metrics, "fenced_total") == sample(second.metrics, "fenced_total") == 0
        ids = [
            meta["transactional_id"] for name in streams for _, meta in sorted(sites[name].metas(f"of-{name}").items())
        ]
        assert ids == [
            f"streamfold/{topic_prefix}/{topic_prefix}-{name}/{partition}"
            for name in streams
            for partition in range(counts[name])
        ]

    scenario(work)


def test_all_tables_of_a_partition_commit_together(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, partitions=2)
    tables = [site.table("one"), site.table("two", emit="commit")]

    async def work() -> None:
        async with running(site.app(tables)) as plane:
            for _ in range(5):
                site.send(7, partition=0)
                site.send(3, partition=1)
                await asyncio.sleep(0.05)
            await drained(site, plane)
        offsets = {
            (table, partition): [
                json.loads(record.value)["next_offset"]
                for record in site.records(f"{site.name}-{table}-changelog")
                if record.partition == partition and record.key == b"M"
            ]
            for table in ("one", "two")
            for partition in (0, 1)
        }
        for partition, end in ((0, 35), (1, 15)):
            assert offsets["one", partition] == offsets["two", partition]
            assert offsets["one", partition][-1] == end

    scenario(work)


@pytest.mark.parametrize("record_key", [None, b"someone-else"])
def test_a_record_key_that_is_not_the_field_stops_the_worker_before_it_is_folded(
    site: Site, record_key: bytes | None
) -> None:
    async def work() -> None:
        site.send(3, key="ann", who="ann")
        async with running(site.app()) as plane:
            await drained(site, plane)
            site.send(3, key=record_key, who="ann")
            stopped = await ended(plane)
        assert isinstance(stopped, KafkaStateError)
        assert "not partitioned by the field 'who'" in stopped.cause
        assert f"{site.source}-0 offset 3" in stopped.cause
        assert "say `repartition = true` on stream events" in stopped.mend
        assert "partitioned_by_key" in stopped.mend
        assert site.committed() == 3
        assert [output["games"] for output in site.outputs()] == [1, 2, 3]

    scenario(work)


@pytest.mark.parametrize("vouched", [False, True])
def test_a_key_seen_in_two_partitions_stops_the_worker(kafka: str, topic_prefix: str, vouched: bool) -> None:
    site = Site(kafka, topic_prefix, partitions=2, key="who", partitioned_by_key=vouched)

    async def work() -> None:
        site.send(3, key="ann", who="ann", partition=0)
        site.send(3, key="bob", who="bob", partition=1)
        async with running(site.app()) as plane:
            await drained(site, plane)
            site.send(3, key="ann", who="ann", partition=1)
            stopped = await ended(plane)
        assert isinstance(stopped, KafkaStateError)
        assert "the key 'ann' is in partition 1 and in another one" in stopped.cause
        assert "say `repartition = true` on stream events" in stopped.mend
        assert "reset" in stopped.mend
        assert site.committed(1) == 3
        assert len(site.outputs()) == 6
        # A restart meets the same evidence, in the partition that is restored or read last.
        assert "the key 'ann' is in partition" in (await refusal(site.app())).cause

    scenario(work)


def test_a_key_that_two_workers_saw_is_found_where_its_partitions_meet(site: Site) -> None:
    async def work() -> None:
        async with running(site.app()) as first, running(site.app()) as second:
            await until(lambda: len(first.tasks) == len(second.tasks) == 1, "one partition each", first)
            site.send(3, key="ann", who="ann", partition=0)
            site.send(3, key="ann", who="ann", partition=1)
            await drained(site, first, second)
        assert "the key 'ann' is in partition" in (await refusal(site.app())).cause

    scenario(work)


def test_one_key_in_several_partitions_is_fine_where_the_key_is_the_records_own(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, partitions=2)

    async def work() -> None:
        async with running(site.app()) as plane:
            site.send(3, key="ann", partition=0)
            site.send(3, key="ann", partition=1)
            await drained(site, plane)

    scenario(work)


def test_the_pipelines_group_is_its_name_and_fausts_is_another(site: Site) -> None:
    async def work() -> None:
        app = site.app()
        async with running(app) as plane:
            await until(lambda: bool(plane.tasks), "a member", plane)
            assert len(await asyncio.to_thread(site.admin.members, site.name)) == 1
        assert FaustApp(app).conf.id == f"{site.name}-agents" != app.group

    scenario(work)


def test_workers_that_start_at_once_make_the_topics_once(site: Site) -> None:
    async def work() -> None:
        async with running(site.app()) as first, running(site.app()) as second, running(site.app()) as third:
            assert first.world is not None
            assert second.world is not None
            assert third.world is not None
            assert first.world.topics == second.world.topics == third.world.topics
        every = [running(site.app([site.table(), site.table("more")])) for _ in range(3)]
        planes = await asyncio.gather(*(worker.__aenter__() for worker in every))
        ids = [{name: info.topic_id for name, info in plane.world.topics.items()} for plane in planes if plane.world]
        assert ids[0] == ids[1] == ids[2]
        await asyncio.gather(*(worker.__aexit__(None, None, None) for worker in every))

    scenario(work)
