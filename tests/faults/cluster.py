"""A Kafka of three nodes: its coordinators move when a node dies."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from pipeline.edges.broker import EmbeddedKafka, embedded
from pipeline.edges.broker.folder import new_cluster_id
from pipeline.edges.broker.ports import free_port

HOST = "127.0.0.1"
NODES = (1, 2, 3)
START_SECONDS = 150


def _ports() -> dict[int, tuple[int, int]]:
    """By node, a port for clients and one for controllers, all different."""
    ports: list[int] = []
    for _ in range(2 * len(NODES)):
        ports.append(free_port(HOST, *ports))
    return {node: (ports.pop(), ports.pop()) for node in NODES}


@contextmanager
def cluster(folder: Path) -> Iterator[dict[int, EmbeddedKafka]]:
    """By its id, each node; every topic of Kafka's own is on all of them. They are stopped on exit."""
    ports = _ports()
    voters = ",".join(f"{node}@{HOST}:{controller}" for node, (_, controller) in ports.items())
    replicated = {
        "controller.quorum.voters": voters,
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
        "min.insync.replicas": "2",
    }
    brokers = {
        node: EmbeddedKafka(
            port=port,
            data=folder / f"node-{node}",
            properties={
                **replicated,
                "node.id": str(node),
                "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            },
        )
        for node, (port, controller) in ports.items()
    }
    identity = new_cluster_id()
    try:
        # At once: none answers before most of them have found each other. And as one cluster.
        with patch.object(embedded, "new_cluster_id", lambda: identity), ThreadPoolExecutor(len(NODES)) as starters:
            for started in [starters.submit(broker.start, START_SECONDS) for broker in brokers.values()]:
                started.result()
        yield brokers
    finally:
        for broker in brokers.values():
            broker.kill()
