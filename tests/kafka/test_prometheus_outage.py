"""What a Prometheus tells of a broker that stops, and of one that is slow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer

from pipeline.edges.broker import EmbeddedKafka
from tests.kafka.process import ask, end, paused, until
from tests.kafka.watched import Site
from tests.programs import installed

KEYS = 60_000
"""So many that a restore takes several fetches."""


@pytest.fixture
def own() -> Iterator[EmbeddedKafka]:
    """A broker of our own, to be stopped."""
    installed("prometheus", "prometheus")
    with EmbeddedKafka() as broker:
        yield broker


def restoring(site: Site) -> bool:
    try:
        _, answer = ask(site.port, "/readyz")
    except OSError:
        return False
    return any("is restoring: " in reason and " 0 records" not in reason for reason in answer["reasons"])


def test_a_broker_that_is_slow_or_stops_during_a_restore_is_told_of(own: EmbeddedKafka, tmp_path: Path) -> None:
    site = Site(own.address, tmp_path)
    with site.watched():
        with closing(KafkaProducer(bootstrap_servers=own.address)) as producer:
            event = {"score": 1, "ts": time.time()}
            for number in range(KEYS):
                producer.send(site.topic, json.dumps(event | {"id": number}).encode(), b"%d" % number)
            producer.flush()

            def keys() -> int:
                answer = ask(site.port, "/tables/player?limit=0")[1]
                return int(sum(part["keys"] or 0 for part in answer["partitions"]))

            until(lambda: keys() == KEYS, 60, "all folded", site.worker)
            deadline = time.monotonic() + 120
            while not site.fired("StreamfoldSlowCommits"):
                assert time.monotonic() < deadline, "commits are not slow"
                for _ in range(15):  # so that a commit is under way, or due, when it stops
                    producer.send(site.topic, site.score(), b"ann")
                    time.sleep(0.02)
                with paused(own.pid):
                    time.sleep(1.5)
        until(lambda: not site.fired("StreamfoldSlowCommits"), 60, "the alert is over")

        end(site.worker)
        wanted = ("StreamfoldNotReady", "StreamfoldRestoreStuck")
        site.start()
        until(lambda: restoring(site), 60, "a restore", site.worker)
        with paused(own.pid):
            until(lambda: all(map(site.fired, wanted)), 60, "the alerts", site.worker)
        until(lambda: not any(map(site.fired, wanted)), 60, "the alerts are over", site.worker)
        site.ready()
