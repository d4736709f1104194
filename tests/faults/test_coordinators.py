"""The node that coordinates the group, or the transactions, dies under load; another takes its work over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pipeline.edges.broker import EmbeddedKafka
from tests.faults.arena import CONFIG, Arena, until
from tests.faults.cluster import START_SECONDS, cluster
from tests.faults.conftest import SEED

RESULTS = 200


class Replicated(Arena):
    """Everything on three nodes."""

    replication: ClassVar[int] = 3
    config: ClassVar[str] = CONFIG.replace("commit_interval", "replication = 3\ncommit_interval")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[int, EmbeddedKafka]]:
    """Three of them."""
    with cluster(tmp_path) as nodes:
        yield nodes


@pytest.fixture
def arena(nodes: dict[int, EmbeddedKafka], tmp_path: Path, topic_prefix: str) -> Iterator[Arena]:
    """On all nodes."""
    print(f"replay with SEED={SEED}")
    arena = Replicated(",".join(node.address for node in nodes.values()), tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


def coordinators(arena: Arena) -> tuple[int, list[int]]:
    """The node of the group, and those of the transactions, the one with most of them first.

    A node that has died is asked too, until the others have noticed.
    """
    found: list[tuple[int, list[int]]] = []

    def told() -> bool:
        try:
            found.append(_coordinators(arena))
        except (KafkaError, ValueError):
            return False
        return True

    until(told, 120, "all nodes that are left say what they coordinate")
    return found[-1]


def _coordinators(arena: Arena) -> tuple[int, list[int]]:
    admin = KafkaAdminClient(bootstrap_servers=arena.brokers)
    try:
        transactions = {
            node: sum(arena.source in listing.transactional_id for listing in listings)
            for node, listings in admin.list_transactions().items()
        }
        (group,) = [
            node
            for node in transactions
            if arena.name in {group["group_id"] for group in admin.list_groups(broker_ids=[node])}
        ]
        some = [node for node, number in transactions.items() if number]
        return group, sorted(some, key=lambda node: -transactions[node])
    finally:
        admin.close()


def outputs(arena: Arena) -> int:
    """How many results there are; 0 while the node that has died is still asked for them."""
    try:
        return arena.outputs("player")
    except KafkaError:
        return 0


def strike(arena: Arena, node: int, nodes: dict[int, EmbeddedKafka]) -> None:
    """Kill a node, see that the others do its work, and start it again."""
    enough = arena.outputs("player") + RESULTS
    nodes[node].kill()
    until(lambda: outputs(arena) > enough, 120, "the other nodes go on")
    group, transactions = coordinators(arena)
    assert node not in (group, *transactions)
    nodes[node].start(START_SECONDS)


@pytest.mark.timeout(600)
def test_each_coordinator_is_killed_under_load(arena: Arena, nodes: dict[int, EmbeddedKafka]) -> None:
    for number in (0, 1):
        arena.start(number)
    with arena.load(rate=300):
        until(lambda: arena.outputs("player") > RESULTS, 120, "the first outputs")
        group, _ = coordinators(arena)
        strike(arena, group, nodes)
        _, transactions = coordinators(arena)
        strike(arena, transactions[0], nodes)
    arena.drained(180, revive=False)
    assert [worker.poll() for worker in arena.workers.values()] == [None, None], arena.log()
    report = arena.check()
    assert report.violations == [], f"SEED={SEED}\n{arena.log()}"
    assert report.outputs == report.events
