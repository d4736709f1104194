"""Exactly once over two hops: events that are partitioned by something else than the key, or by nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.arena import CONFIG, PARTITIONS, TABLES, Arena
from tests.faults.conftest import SEED
from tests.faults.worker import POINTS


class Rekeyed(Arena):
    """Scores are partitioned by player and wanted by team; sensors' readings have no key and are wanted by station."""

    config = CONFIG.replace('-scores"', '-scores"\nkey = "who"\nrepartition = true').replace(
        '-sensors"', '-sensors"\nkey = "who"\nrepartition = true'
    )

    def record(self, stream: str, key: str, x: float) -> tuple[bytes | None, dict[str, object]]:
        """The key of a record says nothing of the key of its event."""
        player = f"player-{self._load_random.randrange(1_000)}".encode()
        return player if stream == "scores" else None, {"x": x, "who": key}

    def read_topics(self) -> dict[str, int]:
        """The sources, and what hops wrote of them."""
        between = {f"{self.name}-{table}-repartition": PARTITIONS[stream] for table, stream in TABLES.items()}
        return super().read_topics() | between


@pytest.fixture
def arena(kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Rekeyed]:
    """Replayed by its seed."""
    print(f"replay with SEED={SEED}")
    arena = Rekeyed(kafka, tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


def expect_exact(arena: Rekeyed) -> None:
    report = arena.check()
    assert report.violations == [], f"SEED={SEED}\n{arena.log()}"
    assert report.outputs == report.events


@pytest.mark.timeout(400)
def test_twenty_random_faults_across_both_hops(arena: Rekeyed) -> None:
    arena.start(0)
    arena.start(1)
    began = time.monotonic()
    with arena.load(rate=1_000):
        while len(arena.faults) < 20 or time.monotonic() - began < 60:
            time.sleep(arena.random.uniform(0.5, 3))
            arena.fault()
            arena.revive()
    arena.drained(120)
    expect_exact(arena)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", ["mid-transaction", "before commit", "after commit"])
def test_kill_at_a_named_point_of_either_hop(arena: Rekeyed, point: str) -> None:
    assert point in POINTS
    arena.send(300)
    arena.start(0, point, call=arena.random.randint(5, 25))
    with arena.load(rate=1_000):
        assert arena.wait(0) == -9
        arena.start(0)
        time.sleep(1)
    arena.drained()
    expect_exact(arena)
