"""Tables from tables: three levels of them, each exact whatever dies."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from math import comb
from pathlib import Path

import pytest

from tests.faults.arena import PARTITIONS, Arena
from tests.faults.conftest import SEED

LEVELS = ("first", "second", "third")


class Chain(Arena):
    """Each level adds up what the one before it shows: the n-th event of a key makes n, n (n + 1) / 2, and so on."""

    config = """
[app]
name = "{name}"
brokers = "{brokers}"
commit_interval = "50ms"
session_timeout = "{session}s"
http = "127.0.0.1:${{PORT}}"

[streams.scores]
topic = "{source}-scores"

[streams.firsts]
topic = "{name}-first"
time = "time"

[streams.seconds]
topic = "{name}-second"
time = "time"
key = "key"
repartition = true

[tables.first]
stream = "scores"
[tables.first.operators]
n = {{ type = "count" }}

[tables.second]
stream = "firsts"
[tables.second.operators]
n = {{ type = "sum", value = "n" }}

[tables.third]
stream = "seconds"
partitions = 2
[tables.third.operators]
n = {{ type = "sum", value = "n" }}
"""
    mix = ("scores",)

    def read_topics(self) -> dict[str, int]:
        """The source, and what is between tables."""
        count = PARTITIONS["scores"]
        between = {f"{self.name}-first": count, f"{self.name}-second": count, f"{self.name}-third-repartition": 2}
        return {f"{self.source}-scores": count, **between}

    def shown(self, level: int) -> dict[str, list[int]]:
        """What a level has published, by key."""
        found: dict[str, list[int]] = defaultdict(list)
        for record in self.read(f"{self.name}-{LEVELS[level]}", 2 if level == 2 else PARTITIONS["scores"]):
            value = json.loads(record.value)
            found[value["key"]].append(int(value["n"]))
        return found


@pytest.fixture
def arena(kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Chain]:
    """Replayed by its seed."""
    print(f"replay with SEED={SEED}")
    arena = Chain(kafka, tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


@pytest.mark.timeout(200)
def test_a_chain_of_three_tables_is_exact_under_kill_9(arena: Chain) -> None:
    arena.start(0)
    arena.start(1)
    with arena.load(rate=500):
        for _ in range(4):
            time.sleep(arena.random.uniform(1, 3))
            arena.kill(arena.random.choice(sorted(arena.workers)), 9)
            time.sleep(0.5)
            arena.revive()
    arena.drained(120)
    for level in range(len(LEVELS)):
        expected = {
            key: [comb(n + level, level + 1) for n in range(1, truth.count + 1)]
            for key, truth in arena.truth["scores"].items()
        }
        assert arena.shown(level) == expected, f"{LEVELS[level]}: SEED={SEED}\n{arena.log()}"
