"""Keys that are dropped, on a real broker: exactly once through kill -9, gone from HTTP, restored without them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest
from kafka import KafkaProducer

from operators import Count
from pipeline import App
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import RunError
from tests.core.lifetimes import OPERATORS, Exact, Sent
from tests.kafka.pipelines import Site, drained, ended, running, sample, scenario, until
from tests.kafka.process import STREAMFOLD, ask, free_ports, is_ready, process
from tests.kafka.process import until as wait

CONFIG = """
[app]
name = "{name}"
brokers = "{kafka}"
commit_interval = "20ms"
http = "127.0.0.1:{port}"
session_timeout = "6s"

[streams.events]
topic = "{name}-events"
time = "ts"

[tables.table]
stream = "events"
on_null = "delete"
ttl = "30s"
max_keys = 25
on_full = "evict"
[tables.table.operators]
n = {{ type = "count" }}
sum = {{ type = "sum", value = "x" }}
last = {{ type = "moving_mean", value = "x", window = 200 }}
"""


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    Site.close_all()


def history(seed: int, count: int) -> list[Sent]:
    """Forty keys, of which a few are common; time goes on, with late events, some of the future, and nulls."""
    random_ = random.Random(seed)
    return [
        Sent(
            f"key-{int(random_.paretovariate(0.7)) % 40}",
            n / 5 - random_.choice([0, 0, 0, 90]) + (1e7 if random_.random() < 0.01 and n % 2 else 0),
            None if random_.random() < 0.05 else float(random_.randrange(-9, 9)),
        )
        for n in range(count)
    ]


def send(site: Site, sent: Sequence[Sent]) -> None:
    with closing(KafkaProducer(bootstrap_servers=site.kafka)) as producer:
        for event in sent:
            value = None if event.x is None else json.dumps({"x": event.x, "ts": event.time}).encode()
            producer.send(site.source, value, event.key.encode(), partition=0)
        producer.flush()


def published(site: Site) -> list[tuple[str, int | None, Fraction | None]]:
    found = site.records(f"{site.name}-table")
    records = [(record.key.decode(), record.value and json.loads(record.value)) for record in found]
    return [(key, value and value["n"], value and Fraction(value["sum"])) for key, value in records]


def test_every_drop_is_published_once_through_kill_9_and_gone_from_http(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    site, port = Site(kafka, topic_prefix, time="ts"), free_ports()
    file = tmp_path / "pipeline.toml"
    file.write_text(CONFIG.format(name=topic_prefix, kafka=kafka, port=port))
    sent = history(seed=5, count=6_000)
    exact = Exact(ttl=30.0, max_keys=25)
    for offset, event in enumerate(sent):
        exact.take(offset, event)
    assert set(exact.reasons) == {"null", "ttl", "max_keys"}
    for part in range(0, len(sent), 3_000):
        with process([*STREAMFOLD, "run", str(file)]) as worker:
            wait(lambda: is_ready(port), 60, "ready", worker)
            send(site, sent[part : part + 3_000])
            wait(
                lambda: (site.committed() or 0) > part + 200,  # noqa: B023  it is called right here
                60,
                "some of it committed",
                worker,
            )
            worker.kill()
            worker.wait()
    with process([*STREAMFOLD, "run", str(file)]) as worker:
        wait(lambda: site.lag() == 0, 60, "the rest", worker)
        wait(lambda: is_ready(port), 60, "ready", worker)
        for key in {event.key for event in sent}:
            status, entry = ask(port, f"/tables/table/{key}")
            assert status == (200 if key in exact.seen else 404), key
            if status == 200:
                assert entry["n"] == len(exact.seen[key][1])
        assert set(ask(port, "/tables/table?limit=1000")[1]["keys"]) == exact.seen.keys()
    assert published(site) == exact.out


def test_a_compacted_changelog_restores_the_keys_that_are_left(topic_prefix: str) -> None:
    with EmbeddedKafka(properties={"log.cleaner.backoff.ms": "100", "log.cleaner.threads": "1"}) as broker:
        site = Site(broker.address, topic_prefix, time="ts")
        app = site.app([site.table(operators=OPERATORS, on_null="delete", ttl=100.0)])
        log = f"{topic_prefix}-table-changelog"
        spec = TopicSpec.changelog(log, 1)
        quick = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0"}
        site.admin.create([TopicSpec(log, 1, 1, {**spec.configs, **quick})])
        sent, exact = history(seed=9, count=2_500), Exact(ttl=100.0)
        for offset, event in enumerate(sent):
            exact.take(offset, event)

        def tombstones() -> int:
            return sum(record.value is None for record in site.records(log))

        async def work() -> None:
            async with running(app) as plane:
                for part in range(0, len(sent), 500):
                    send(site, sent[part : part + 500])
                    await drained(site, plane)
                made = await asyncio.to_thread(tombstones)
                assert made > 0
                # The cleaner leaves the newest segment alone: newer ones have to begin.
                while await asyncio.to_thread(tombstones) >= made:
                    sent.append(Sent("key-0", sent[-1].time, 1.0))
                    exact.take(len(sent) - 1, sent[-1])
                    send(site, sent[-1:])
                    await asyncio.sleep(0.1)
                await drained(site, plane)
                kinds = {reason: sample(plane.metrics, "dropped_keys_total", table="table", reason=reason)
                         for reason in ("null", "ttl")}  # fmt: skip
                assert kinds == {reason: exact.reasons.count(reason) for reason in kinds}

            async with running(app) as plane:
                await until(lambda: site.tp() in plane.tasks and plane.tasks[site.tp()].ready, "restored", plane)
                partition = plane.tasks[site.tp()].partition
                assert partition is not None
                state = partition.tables["table"].state
                assert {key.decode() for key in state.index} == exact.seen.keys()
                send(site, [Sent("key-0", 1e9, 1.0)])
                exact.take(len(sent), Sent("key-0", 1e9, 1.0))
                await drained(site, plane)
            assert published(site) == exact.out

        scenario(work)
        Site.close_all()


def test_a_key_too_many_ends_the_worker_and_a_higher_limit_goes_on(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, time="ts")

    def app(max_keys: int) -> App:
        return site.app([site.table(operators={"n": Count()}, max_keys=max_keys)])

    async def work() -> None:
        send(site, [Sent(key, 0.0, 1.0) for key in "abab"])
        async with running(app(2)) as plane:
            await drained(site, plane)
            send(site, [Sent(key, 0.0, 1.0) for key in "ac"])
            error = await ended(plane)
            assert isinstance(error, RunError)
            assert (error.exit_code, "offset 5" in error.cause, "max_keys" in error.mend) == (1, True, True)
        async with running(app(3)) as plane:
            await drained(site, plane)
        found = [(record.key, json.loads(record.value)["n"]) for record in site.records(f"{topic_prefix}-table")]
        assert found == [(b"a", 1), (b"b", 1), (b"a", 2), (b"b", 2), (b"a", 3), (b"c", 1)]

    scenario(work)
