"""One key with most of the events: folded in two stages, its work is shared by two workers."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.edges.bench.load import send_share
from pipeline.edges.bench.rounds import cpu_seconds
from tests.faults.arena import Arena, until
from tests.faults.conftest import SEED
from tests.faults.web import get

EVENTS = 1_200_000
ROUNDS = 10
HOT = 0.9


class Hot(Arena):
    """Events of teams, of which one plays nearly always; their records say nothing of it."""

    config = """
[app]
name = "{name}"
brokers = "{brokers}"
commit_interval = "100ms"
session_timeout = "{session}s"
http = "127.0.0.1:${{PORT}}"

[streams.scores]
topic = "{source}-scores"
key = "team"
repartition = true

[tables.team]
stream = "scores"
emit = "commit"
partitions = 2
[tables.team.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "x" }}
spread = {{ type = "std", value = "x" }}
"""
    partitions: ClassVar = {"scores": 2}

    def read_topics(self) -> dict[str, int]:
        """The source, and what hops wrote of it."""
        return super().read_topics() | {f"{self.name}-team-repartition": 2}

    def owned(self, number: int) -> int:
        """How many partitions of the source a worker has."""
        lines = get(self.ports[number], "/metrics").splitlines()
        return sum(line.startswith('streamfold_lag_events{partition="') and "-scores" in line for line in lines)

    async def pour(self, truth: dict[str, tuple[int, float]]) -> None:
        """Send all events, as many to either partition; add up the count and the sum of each team."""
        random_ = random.Random(SEED)
        producer = AIOKafkaProducer(bootstrap_servers=self.brokers, max_batch_size=512 * 1024, acks="all")
        await producer.start()
        for partition in range(2):
            share = []
            for n in range(EVENTS // 2 // ROUNDS):
                team = "hot" if random_.random() < HOT else f"team-{n % 100}"
                x = float(random_.randrange(1_000))
                share.append((b"any", json.dumps({"team": team, "x": x}).encode()))
                count, total = truth.get(team, (0, 0.0))
                truth[team] = count + ROUNDS, total + ROUNDS * x
            for _ in range(ROUNDS):
                for at in range(0, len(share), 5_000):
                    await send_share(producer, f"{self.source}-scores", partition, share[at : at + 5_000])
        await producer.flush()
        await producer.stop()


@pytest.fixture
def arena(kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Hot]:
    """Replayed by its seed."""
    print(f"replay with SEED={SEED}")
    arena = Hot(kafka, tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


@pytest.mark.timeout(200)
def test_the_work_on_a_hot_key_is_shared(arena: Hot) -> None:
    """Each worker has one of the two partitions of the source: it folds the hot key's events there."""
    for number in (0, 1):
        arena.start(number)
    until(lambda: all(_answers(arena, number) for number in (0, 1)), 60, "both workers own a partition of the source")
    truth: dict[str, tuple[int, float]] = {}
    for _ in range(3):  # what else the machine does may cost one of them more
        before = [cpu_seconds(arena.workers[number].pid) or 0.0 for number in (0, 1)]
        asyncio.run(arena.pour(truth))
        arena.drained(120, revive=False)
        spent = [(cpu_seconds(arena.workers[number].pid) or 0.0) - before[number] for number in (0, 1)]
        print(f"CPU seconds: {spent[0]:.2f} and {spent[1]:.2f} for {EVENTS:,} events")
        if max(spent) <= 1.25 * min(spent):
            break
    latest = {}
    for record in arena.read(f"{arena.name}-team", 2):
        latest[record.key.decode()] = json.loads(record.value)
    assert {key: (value["games"], round(value["average"] * value["games"])) for key, value in latest.items()} == truth
    sent = arena.outputs("team-repartition")
    assert sent * 10 < sum(count for count, _ in truth.values())
    assert max(spent) <= 1.25 * min(spent)


def _answers(arena: Hot, number: int) -> bool:
    try:
        return arena.owned(number) == 1
    except OSError:
        return False
