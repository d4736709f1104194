"""Tables by another key than their topic is partitioned by, on a real broker."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from kafka import KafkaProducer

from operators import Count, Max, Mean
from pipeline import App, Stream, Table
from pipeline.edges.doctor import examine
from pipeline.edges.kafka import purge
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.reset import Reset
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.edges.web.answers import Query
from pipeline.edges.web.reading import Reader
from tests.kafka.pipelines import Site, running, sample, scenario, until

OPERATORS = {"games": Count(), "average": Mean(value="x"), "best": Max(value="x")}


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    """A topic of two partitions whose records have no key."""
    return Site(kafka, topic_prefix, partitions=2, key="team", repartition=True)


def send(site: Site, count: int, topic: str | None = None, **fields: object) -> None:
    """Events ``x = 0, 1, ...`` without a key, of teams a, b and c in turn."""
    with closing(KafkaProducer(bootstrap_servers=site.kafka)) as producer:
        for n in range(count):
            value = json.dumps({"team": "abc"[n % 3], "x": n, **fields}).encode()
            producer.send(topic or site.source, value, partition=n % 2)
        producer.flush()


def between(site: Site, table: str = "table", partitions: int = 2) -> list[TopicPartition]:
    return [TopicPartition(f"{site.name}-{table}-repartition", number) for number in range(partitions)]


async def folded(site: Site, plane: Plane, table: str = "table", partitions: int = 2) -> None:
    """Wait until what the source holds is committed on both sides of the hop."""

    def is_folded() -> bool:
        if site.lag():
            return False
        committed, bounds = site.admin.committed(site.name), site.admin.all_bounds(between(site, table, partitions))
        return all(committed.get(tp, 0) >= bound.end for tp, bound in bounds.items())

    await until(is_folded, "both hops are committed", plane)


def latest(site: Site, table: str = "table") -> dict[str, tuple[int, float]]:
    return {record["key"]: (record["games"], record["average"]) for record in site.outputs(table)}


async def problems(app: App) -> list[str]:
    """What doctor finds wrong."""
    found = await asyncio.to_thread(lambda: list(examine(app)))
    return [str(finding) for finding in found if finding.verdict == "problem"]


EXACT = {"a": (20, 28.5), "b": (20, 29.5), "c": (20, 30.5)}
"""Of sixty events."""


def test_records_without_a_key_are_kept_by_a_field(site: Site) -> None:
    async def work() -> None:
        send(site, 60)
        async with running(site.app([site.table(operators=OPERATORS, partitions=3)])) as plane:
            await folded(site, plane, partitions=3)
            assert sample(plane.metrics, "outputs_total", table="table-events-repartition") == 60
        assert latest(site) == EXACT
        assert len(site.outputs()) == 60

    scenario(work)


def test_a_restart_in_the_middle_changes_no_result(site: Site) -> None:
    async def work() -> None:
        app = site.app([site.table(operators=OPERATORS), site.table("staged", operators=OPERATORS, emit="commit")])
        assert app.tables["staged"].two_stage
        for part in (24, 36):
            send(site, part)
            async with running(app) as plane:
                await folded(site, plane)
                await folded(site, plane, "staged")
        assert {key: games for key, (games, _) in latest(site).items()} == dict.fromkeys("abc", 20)
        single = latest(site)
        assert {key: pytest.approx(single[key]) for key in single} == latest(site, "staged")

    scenario(work)


def test_what_is_folded_is_deleted_behind_the_commit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "PURGE_SECONDS", 0.2)

    async def work() -> None:
        send(site, 60)
        app = site.app([site.table(operators=OPERATORS)])
        async with running(app) as plane:
            await folded(site, plane)

            def is_empty() -> bool:
                bounds = site.admin.all_bounds(between(site))
                return all(bound.start == bound.end for bound in bounds.values())

            await until(is_empty, "the topic is emptied", plane)
            assert site.admin.bounds(site.tp()).start == 0, "nobody else's topic is touched"
        send(site, 3)
        async with running(app) as plane:
            await folded(site, plane)
        assert {key: games for key, (games, _) in latest(site).items()} == dict.fromkeys("abc", 21)

    scenario(work)


def test_a_reset_folds_everything_once_again(site: Site) -> None:
    async def work() -> None:
        send(site, 60)
        app = site.app([site.table(operators=OPERATORS, emit="commit", ttl="30d")])
        assert not app.tables["table"].two_stage
        async with running(app) as plane:
            await folded(site, plane)
        reset = Reset(site.admin, app, outputs=True)
        assert {part.topic for part in between(site)} < set(reset.changelogs)
        assert [refold.topic for refold in reset.refolds] == [site.source]
        for _, step in reset.steps():
            await asyncio.to_thread(step)
        async with running(app) as plane:
            await folded(site, plane)
        assert latest(site) == EXACT

    scenario(work)


def test_the_output_of_a_table_that_another_one_reads_is_emptied_by_a_reset(site: Site) -> None:
    async def work() -> None:
        send(site, 60)
        first = site.table(operators=OPERATORS)
        updates = Stream("updates", topic=f"{site.name}-table", time="time")
        second = Table("second", stream=updates, operators={"games": Count(), "average": Mean(value="games")})
        app = site.app([first, second])

        async def run() -> None:
            async with running(app) as plane:
                await folded(site, plane)
                await until(lambda: len(site.outputs("second")) >= 60, "the second level", plane)

        await run()
        reset = Reset(site.admin, app, outputs=False)
        assert f"{site.name}-table" in reset.changelogs
        for _, step in reset.steps():
            await asyncio.to_thread(step)
        await run()
        assert len(site.outputs("table")) == 60
        again = latest(site, "second")
        assert again == dict.fromkeys("abc", (20, 10.5))

    scenario(work)


def test_doctor_looks_at_both_sides_of_a_hop(site: Site) -> None:
    async def work() -> None:
        app = site.app([site.table(operators=OPERATORS)])
        assert not await problems(app)
        send(site, 60)
        async with running(app) as plane:
            await folded(site, plane)
        assert not await problems(app)
        text = "\n".join(map(str, await asyncio.to_thread(lambda: list(examine(app)))))
        assert f"{site.name}-table-repartition" in text
        assert f"{site.name}-table-events-repartition-changelog" in text
        site.admin.delete([f"{site.name}-table-events-repartition-changelog"])
        assert await problems(app)

    scenario(work)


def test_two_topics_meet_in_one_table(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, partitions=2, key="team", repartition=True)
    other = Stream("others", topic=f"{site.name}-others", format="json", key="team", repartition=True)
    site.admin.create([TopicSpec.source(other.topic, 1)])

    async def work() -> None:
        send(site, 60)
        with closing(KafkaProducer(bootstrap_servers=site.kafka)) as producer:
            for n in range(10):
                producer.send(other.topic, json.dumps({"team": "a", "x": 100 + n}).encode())
            producer.flush()
        table = Table("table", streams=[site.stream, other], operators=OPERATORS)
        async with running(site.app([table])) as plane:
            await until(lambda: sum(1 for _ in site.outputs()) == 70, "all are published", plane)
        assert latest(site)["a"] == pytest.approx((30, (20 * 28.5 + 10 * 104.5) / 30))
        assert latest(site)["b"] == EXACT["b"]

    scenario(work)


def test_a_key_of_a_table_in_two_stages_is_asked_for_as_any_other(site: Site) -> None:
    async def work() -> None:
        send(site, 60)
        async with running(site.app([site.table(operators=OPERATORS, emit="commit")])) as plane:
            await folded(site, plane)
            reader = Reader(plane)
            assert list(reader.tables()) == ["table"]
            table = reader.table("table")
            entry = json.loads(bytes(await reader.entry(table, "a")))
            assert (entry["games"], entry["average"]) == EXACT["a"]
            assert entry["state"]["average"] == {"count": 20, "mean": 28.5}
            assert await reader.readout(table, "b", Query("average")) == {"value": 29.5}
            assert reader.summary(table)["operators"] == {
                "games": "Count", "average": "Mean", "best": "Max",
            }  # fmt: skip

    scenario(work)


def test_another_number_of_partitions_is_refused(site: Site) -> None:
    app = site.app([site.table(operators=OPERATORS)])

    async def work() -> None:
        send(site, 6)
        async with running(app) as plane:
            await folded(site, plane)
        more: App = site.app([replace(app.tables["table"], partitions=5)])
        assert any("partitions instead of 5" in text for text in await problems(more))

    scenario(work)
