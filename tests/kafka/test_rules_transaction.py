"""What a commit may and may not do, and what no event can do to it. Rules F14 to F18, F27, F33."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from operators import Count, LinearAttention
from operators.columns.grouping import Ints
from operators.operator import Batch, State
from pipeline.core.batch import WireBatch
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import Committer, transactional_id
from pipeline.edges.kafka.errors import Fenced, InDoubt
from pipeline.edges.kafka.producer import Deadlines, TransactionalProducer
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.errors import KafkaStateError, RunError
from tests.kafka.clients import unique, write
from tests.kafka.pipelines import Site, drained, ended, games, refusal, running, sample, scenario, until


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


def _configure(site: Site, topic: str, **configs: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    named = {name.replace("_", "."): value for name, value in configs.items()}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, named)])
    admin.close()


def test_a_record_that_the_broker_refuses_leaves_the_offset_where_it_was(site: Site) -> None:
    async def work() -> None:
        site.send(3)
        async with running(site.app()) as plane:
            await drained(site, plane)
            await asyncio.to_thread(_configure, site, f"{site.name}-table", max_message_bytes="100")
            site.send(3)
            stopped = await ended(plane)
        assert isinstance(stopped, KafkaStateError)
        assert f"max.message.bytes of {site.name}-table" in stopped.cause
        assert "raise" in stopped.mend
        assert site.committed() == 3
        assert site.metas()[0]["next_offset"] == 3
        # Once it is mended, everything is there once.
        _configure(site, f"{site.name}-table", max_message_bytes="1000000")
        async with running(site.app()) as plane:
            await drained(site, plane)
        assert games(site) == [1, 2, 3, 4, 5, 6]

    scenario(work)


@pytest.mark.parametrize(
    ("topic", "what"), [("table-changelog", "state records of table table"), ("table", "output records of table table")]
)
def test_records_that_would_not_fit_are_refused_at_the_start(site: Site, topic: str, what: str) -> None:
    fields = tuple(f"x{n}" for n in range(30))
    table = site.table(operators={"memory": LinearAttention(key=fields, value=fields, publish="both")})
    _limited(site, f"{site.name}-{topic}", changelog=topic.endswith("changelog"))

    async def work() -> None:
        refused = await refusal(site.app([table]))
        assert isinstance(refused, KafkaStateError)
        assert what in refused.cause
        assert "is 6000" in refused.cause
        assert f"raise max.message.bytes of {site.name}-{topic} to" in refused.mend

    scenario(work)


def _limited(site: Site, topic: str, *, changelog: bool) -> None:
    spec = TopicSpec.changelog(topic, 1) if changelog else TopicSpec.output(topic, 1, "every")
    site.admin.create([TopicSpec(topic, 1, 1, {**spec.configs, "max.message.bytes": "6000"})])


def test_no_event_can_poison_a_commit(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, partitions=2, time="ts")
    table = site.table(emit="commit")

    async def work() -> None:
        site.send_raw([json.dumps({"x": 1.0, "ts": 4_000_000_000}).encode()])  # in the year 2096
        site.send_raw([json.dumps({"x": 1.0, "ts": 1}).encode()], key=None)
        site.send_raw([json.dumps({"x": 1.0, "ts": 1}).encode()], key=b"k" * 5_000)
        site.send_raw([b"{" + b" " * 1_040_000], partition=1)
        site.send_raw([json.dumps({"x": 3.0, "ts": 2}).encode()])
        async with running(site.app([table])) as plane:
            await drained(site, plane)
        (*_, last) = site.outputs()
        assert (last["games"], last["average"]) == (2, 2.0)
        letters = list(site.records(f"{site.name}-dead-letters"))
        assert sorted(dict(letter.headers)["stage"] for letter in letters) == [b"decode", b"key", b"key"]
        assert max(len(letter.value) for letter in letters) == 1_040_001

    scenario(work)


def test_a_worker_that_is_fenced_but_still_assigned_goes_on(site: Site) -> None:
    async def work() -> None:
        site.send(5)
        async with running(site.app()) as plane:
            await drained(site, plane)
            for _ in range(2):
                thief = await TransactionalProducer.fence(
                    ClientSettings(site.kafka), transactional_id(site.name, site.tp())
                )
                await thief.close()
                site.send(5)
                await drained(site, plane)
            assert sample(plane.metrics, "fenced_total") == 2
            assert sample(plane.metrics, "restores_total", reason="assigned") == 1
        assert games(site) == list(range(1, 16))

    scenario(work)


@pytest.mark.parametrize("outcome", ["went through", "was lost"])
def test_a_commit_in_doubt_is_settled_without_a_restore(
    site: Site, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    original, doubts = Committer.end, 0

    async def end(committer: Committer) -> None:
        nonlocal doubts
        doubts += 1
        if doubts % 2:
            if outcome == "went through":
                await original(committer)
            raise InDoubt("no answer")
        await original(committer)

    async def work() -> None:
        async with running(site.app()) as plane:
            await until(
                lambda: all(task.ready for task in plane.tasks.values()) and bool(plane.tasks), "it runs", plane
            )
            monkeypatch.setattr(Committer, "end", end)
            for _ in range(4):
                site.send(5)
                await drained(site, plane)
            assert doubts >= 4
            assert sample(plane.metrics, "restores_total", reason="assigned") == 1
        assert games(site) == list(range(1, 21))

    scenario(work)


def test_a_producer_that_must_be_renewed_is_renewed_before_the_next_transaction(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that took two requests counts, but the second one may still be on its way."""
    commit, fence, fences = TransactionalProducer.commit, Committer.fence, 0

    async def twice(producer: TransactionalProducer) -> None:
        await commit(producer)
        producer._clean = False

    async def counted(committer: Committer) -> None:
        nonlocal fences
        fences += 1
        await fence(committer)

    async def work() -> None:
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 0, "it runs", plane)
            monkeypatch.setattr(TransactionalProducer, "commit", twice)
            monkeypatch.setattr(Committer, "fence", counted)
            for sent in range(1, 4):
                site.send(1)
                await drained(site, plane)
                assert fences == sent - 1
            assert sample(plane.metrics, "restores_total", reason="assigned") == 1
        assert games(site) == [1, 2, 3]

    scenario(work)


@pytest.mark.parametrize("ahead", [3, 5])
def test_a_zombie_that_must_renew_its_producer_commits_nothing_over_the_newer_owner(
    site: Site, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """Its new fence stops the newer owner, so only the committed offset can tell that there was one."""
    commit = TransactionalProducer.commit

    async def twice(producer: TransactionalProducer) -> None:
        await commit(producer)
        producer._clean = False

    async def work() -> None:
        monkeypatch.setattr(TransactionalProducer, "commit", twice)
        async with running(site.app()) as zombie:
            site.send(5)
            await drained(site, zombie)
            task = zombie.tasks[site.tp()]
            newer = copy.deepcopy(task.partition)
            assert newer is not None
            values: list[bytes | None] = [json.dumps({"x": float(n)}).encode() for n in range(ahead)]
            newer.fold(WireBatch(site.source, 0, 5, 5 + ahead, [b"k"] * ahead, values, range(ahead), [0] * ahead))
            committer = Committer(
                ClientSettings(site.kafka), site.name, site.tp(), Deadlines(), task._committer._limits
            )
            await committer.fence()
            await committer.commit(newer.cut())
            await committer.close()
            site.send(5)  # the same events that the newer owner has folded, and it was quicker
            await drained(site, zombie)
        assert games(site) == list(range(1, 11))

    scenario(work)


def test_what_is_abandoned_holds_up_no_reader(site: Site) -> None:
    async def work() -> None:
        committer = Committer(ClientSettings(site.kafka), site.name, site.tp(), Deadlines(), {})
        await committer.abandon()  # before there is anything
        await committer.fence()
        await committer.begin()
        await committer.producer.append(site.source, 0, [b"k"], [b"v"])
        await committer.acknowledge()
        assert site.admin.bounds(site.tp(), "read_committed").end < site.end()
        await committer.abandon()
        await until(lambda: site.admin.bounds(site.tp(), "read_committed").end == site.end(), "readers get past it")

    scenario(work)


@pytest.mark.parametrize("fenced", [False, True])
def test_a_rebalance_during_the_fence_is_survived(site: Site, monkeypatch: pytest.MonkeyPatch, fenced: bool) -> None:
    original, gate, waiting = Committer.fence, asyncio.Event(), asyncio.Event()

    async def fence(committer: Committer) -> None:
        if not gate.is_set():
            waiting.set()
            await gate.wait()
            if fenced:
                raise Fenced("another took the id at the same moment")
        await original(committer)

    async def work() -> None:
        site.send(5)
        monkeypatch.setattr(Committer, "fence", fence)
        async with running(site.app()) as plane:
            await waiting.wait()
            await plane.revoke([site.tp()])
            if not fenced:  # it comes back, under another assignment, before the fence is through
                plane.tasks[site.tp()].assign(object())
            gate.set()
            await asyncio.sleep(0.5)
            plane.assign([site.tp()])
            await drained(site, plane)
        assert games(site) == [1, 2, 3, 4, 5]

    scenario(work)


def test_a_stop_on_a_bad_event_commits_nothing_of_its_batch(site: Site) -> None:
    good = [b'{"x": 1}'] * 3

    async def work() -> None:
        async with running(site.app([site.table(on_error="stop")], commit_interval="5s")) as plane:
            site.send_raw(good)
            await drained(site, plane)  # a first commit is made at once
            site.send_raw(good)
            await until(lambda: plane.tasks[site.tp()].partition.position == 6, "they are folded", plane)  # type: ignore[union-attr]
            assert site.committed() == 3
            site.send_raw([*good, b"not an event"])
            stopped = await ended(plane)
        assert isinstance(stopped, RunError)
        assert "offset 9" in stopped.cause
        async with running(site.app()) as plane:
            await drained(site, plane)
        assert games(site) == list(range(1, 10))

    scenario(work)


@dataclass(frozen=True, kw_only=True)
class Slow(Count):
    """Takes so long that a commit falls due while it folds."""

    def fold(self, state: State, batch: Batch, *, each: bool) -> Ints | None:
        time.sleep(1)
        return super().fold(state, batch, each=each)


def test_a_commit_that_waits_for_a_fold_does_not_take_what_the_fold_left_half_done(site: Site) -> None:
    async def work() -> None:
        app = site.app([site.table(operators={"games": Slow()}, on_error="stop")], commit_interval="1500ms")
        async with running(app) as plane:
            site.send_raw([b'{"x": 1}'])
            await drained(site, plane)  # a first commit is made at once; the next one is due in the middle of ...
            site.send_raw([b'{"x": 1}'])
            await asyncio.sleep(0.3)
            site.send_raw([b'{"x": 1}', b"not an event"])  # ... this fold
            stopped = await ended(plane)
        assert isinstance(stopped, RunError)
        async with running(site.app([site.table(operators={"games": Slow()})])) as plane:
            await drained(site, plane)
        assert games(site) == [1, 2, 3]

    scenario(work)


def test_markers_at_the_end_of_the_source_leave_no_lag(site: Site) -> None:
    async def work() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(site.kafka), unique("upstream"))
        await write(producer, site.source, [b'{"x": 1}'])
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 2, "record and marker are committed", plane)
            await write(producer, site.source, [b'{"x": 1}'], commit=False)
            await producer.abort()
            await drained(site, plane)
            assert site.committed() == 4
        await producer.close()
        assert games(site) == [1]
        assert site.metas()[0]["next_offset"] == 4

    scenario(work)


def test_a_stop_in_the_middle_of_a_commit_finishes_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    original, writing = Committer.acknowledge, asyncio.Event()

    async def acknowledge(committer: Committer) -> None:
        writing.set()
        await asyncio.sleep(0.5)
        await original(committer)

    async def work() -> None:
        async with running(site.app()) as plane:
            await until(lambda: site.committed() == 0, "it runs", plane)
            monkeypatch.setattr(Committer, "acknowledge", acknowledge)
            site.send(5)
            await writing.wait()
        assert site.committed() == 5
        assert games(site) == [1, 2, 3, 4, 5]
        bounds = site.admin.all_bounds([TopicPartition(f"{site.name}-table", 0)], "read_committed")
        assert bounds == site.admin.all_bounds([TopicPartition(f"{site.name}-table", 0)])

    scenario(work)
