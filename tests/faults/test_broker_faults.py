"""Exactly once, whatever becomes of the broker; and however many workers there are afterwards."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.edges.broker import EmbeddedKafka
from tests.faults.arena import Arena, until
from tests.faults.conftest import SEED


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker of our own, to be stopped and killed; its data outlive both."""
    with EmbeddedKafka(data=tmp_path_factory.mktemp("kafka") / "data") as broker:
        yield broker


@pytest.fixture
def kafka(own: EmbeddedKafka) -> str:
    """The arena is on the broker that is killed."""
    return own.address


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_under_load(
    own: EmbeddedKafka, arena: Arena, expect_exact: Callable[[], None], how: str
) -> None:
    for number in (0, 1):
        arena.start(number)
    with arena.load(rate=500):
        until(lambda: arena.outputs("player") > 0, 60, "the first outputs")
        for _ in range(2):
            own.stop() if how == "stop" else own.kill()
            time.sleep(arena.random.uniform(0.5, 6))
            own.start()
            time.sleep(arena.random.uniform(1, 4))
    arena.drained(120, revive=False)
    assert [worker.poll() for worker in arena.workers.values()] == [None, None], arena.log()
    expect_exact()


@pytest.mark.timeout(120)
def test_a_broker_that_stays_away_too_long_ends_the_worker(own: EmbeddedKafka, arena: Arena) -> None:
    text = arena.file.read_text()
    arena.file.write_text(text.replace("commit_interval", 'broker_timeout = "3s"\ncommit_interval'))
    arena.send(300)
    arena.start(0)
    arena.drained()
    own.kill()
    try:
        assert arena.wait(0) == 3
    finally:
        own.start()
    assert "Traceback" not in arena.log()
    assert "broker_timeout" in arena.log()


@pytest.mark.timeout(180)
def test_other_numbers_of_workers_before_and_after_a_crash(arena: Arena, expect_exact: Callable[[], None]) -> None:
    for number in range(3):
        arena.start(number)
    with arena.load(rate=1_000):
        for left in (1, 2):
            until(lambda: arena.outputs("player") > 0, 60, "the first outputs")
            time.sleep(arena.random.uniform(1, 4))
            for number in list(arena.workers):
                arena.kill(number, signal.SIGKILL)
                arena.wait(number)
            arena.workers.clear()
            for number in range(left):
                arena.start(number)
            time.sleep(2)
    arena.drained(120)
    expect_exact()


@pytest.mark.timeout(180)
def test_one_key_with_half_of_all_events(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    arena = Arena(kafka, tmp_path, topic_prefix, SEED, hot=0.5)
    try:
        arena.start(0)
        arena.start(1)
        with arena.load(rate=2_000):
            time.sleep(3)
            arena.kill(0, signal.SIGKILL)
            arena.wait(0)
            time.sleep(2)
        arena.drained()
        report = arena.check()
        assert report.violations == [], f"SEED={SEED}\n{arena.log()}"
        assert report.outputs == report.events
        hottest = max(truth.count for truth in arena.truth["scores"].values())
        assert hottest > 0.4 * sum(truth.count for truth in arena.truth["scores"].values())
    finally:
        arena.stop()
