"""What can befall a changelog, on a broker whose cleaner is at work: the restore ends, with the state or a refusal."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from operators import Count, MovingMean, Operator
from pipeline import App
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import KafkaStateError
from tests.faults.arena import PARTITIONS, TABLES, Arena
from tests.faults.conftest import SEED
from tests.kafka.pipelines import Site, drained, running, scenario, until

QUICK = {"segment.ms": "200", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0"}
"""Of a changelog that is compacted at once."""

OPERATORS: dict[str, Operator] = {"n": Count(), "last": MovingMean(value="x", window=300)}


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """A broker whose cleaner never sleeps for long."""
    with EmbeddedKafka(properties={"log.cleaner.backoff.ms": "100", "log.cleaner.threads": "1"}) as broker:
        yield broker.address


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Iterator[Site]:
    print(f"replay with SEED={SEED}")
    yield Site(kafka, topic_prefix)
    Site.close_all()


def _records(arena: Arena, table: str) -> int:
    """How many committed records its changelog has that the cleaner left."""
    return sum(1 for _ in arena.read(f"{arena.name}-{table}-changelog", PARTITIONS[TABLES[table]]))


@pytest.mark.timeout(240)
def test_a_changelog_compacted_under_load_with_aborted_transactions_in_it(
    arena: Arena, expect_exact: Callable[[], None]
) -> None:
    with closing(Admin(ClientSettings(arena.brokers))) as admin:
        for table, stream in TABLES.items():
            spec = TopicSpec.changelog(f"{arena.name}-{table}-changelog", PARTITIONS[stream])
            admin.create([TopicSpec(spec.name, spec.partitions, 1, {**spec.configs, **QUICK})])
    with arena.load(rate=500):
        arena.start(0, arena.random.choice(["mid-transaction", "after acknowledgement", "before commit"]))
        assert arena.wait(0, timeout=60) == -9, arena.log()
        arena.start(0)
        deadline, most = time.monotonic() + 100, 0
        # The cleaner leaves the newest segment alone; what it has done shows when there are fewer than there were.
        while (now := _records(arena, "player")) >= most:
            assert time.monotonic() < deadline, "the cleaner has not run"
            most = max(most, now)
        arena.kill(0, 9)
        arena.wait(0)
        arena.start(0)
    arena.drained()
    expect_exact()


def _send(site: Site, events: list[tuple[str, float]]) -> None:
    with closing(KafkaProducer(bootstrap_servers=site.kafka)) as producer:
        for key, x in events:
            producer.send(site.source, json.dumps({"x": x}).encode(), key.encode(), partition=0)
        producer.flush()


def _cut_off(site: Site, log: TopicPartition, start: int) -> None:
    """Only what is not compacted can be cut off."""
    with closing(KafkaAdminClient(bootstrap_servers=site.kafka)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, log.topic, {"cleanup.policy": "delete"})])
        admin.delete_records({log: start})
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, log.topic, {"cleanup.policy": "compact"})])


async def _abort_a_strangers_transaction(site: Site, log: TopicPartition) -> None:
    stranger = await TransactionalProducer.fence(ClientSettings(site.kafka), f"{site.name}-stranger")
    await stranger.begin()
    await stranger.append(log.topic, log.partition, [b"Rk0", b"R-foreign", b"rubbish"], [b"", b"rubbish", b""])
    await stranger.acknowledge()
    await stranger.abort()
    await stranger.close()


async def _windows(site: Site, app: App) -> dict[str, list[float]]:
    """By key, the newest inputs that a worker knows of after its restore."""
    async with running(app) as plane:
        await until(lambda: site.tp() in plane.tasks and plane.tasks[site.tp()].ready, "restored", plane)
        partition = plane.tasks[site.tp()].partition
        assert partition is not None
        state = partition.tables["table"].state
        keys = list(state.index)
        memories = state.entries(state.index.rows(keys))[1]["last"]
    return {key.decode(): memory["window"] for key, memory in zip(keys, memories, strict=True)}  # type: ignore[misc]


def test_wherever_a_changelog_was_cut_off_the_state_is_exact_or_refused(site: Site) -> None:
    """As when its clean-up policy was "delete" for a while, until nothing is left of it."""
    chance = random.Random(SEED)
    app = site.app([site.table(operators=OPERATORS)])
    log = TopicPartition(f"{site.name}-table-changelog", 0)
    events = [(f"k{int(chance.paretovariate(0.6)) % 7}", float(chance.randrange(100))) for _ in range(2_000)]
    windows = {key: [x for k, x in events if k == key][-300:] for key, _ in events}

    async def work() -> None:
        async with running(app) as plane:
            for at in range(0, len(events), 400):
                await asyncio.to_thread(_send, site, events[at : at + 400])
                await drained(site, plane)
        await _abort_a_strangers_transaction(site, log)
        assert await _windows(site, app) == windows
        end = site.admin.bounds(log).end
        refused: KafkaStateError | None = None
        for start in [*sorted(chance.sample(range(1, end), 2)), end]:
            await asyncio.to_thread(_cut_off, site, log, start)
            try:
                assert await _windows(site, app) == windows
                assert refused is None, f"SEED={SEED}: with more of it, it was refused"
            except KafkaStateError as trouble:
                refused = trouble
        assert refused is not None
        assert "has no state" in refused.cause
        assert "reset" in refused.mend
        assert site.committed() == len(events) == len(site.outputs())

    scenario(work)
