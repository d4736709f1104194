"""Exactly once, whatever dies: the promise, counted by a second client."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.arena import PARTITIONS, Arena, until
from tests.faults.worker import POINTS


@pytest.mark.timeout(300)
def test_twenty_random_faults_on_two_workers_under_load(arena: Arena, expect_exact: Callable[[], None]) -> None:
    arena.start(0)
    arena.start(1)
    began = time.monotonic()
    with arena.load(rate=2_000):
        while len(arena.faults) < 20 or time.monotonic() - began < 60:
            time.sleep(arena.random.uniform(0.5, 3))
            arena.fault()
            arena.revive()
    arena.drained()
    expect_exact()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", POINTS)
def test_kill_at_a_named_point(arena: Arena, expect_exact: Callable[[], None], point: str) -> None:
    arena.send(300)
    if point == "mid-restore":
        arena.start(0)
        arena.drained()
        arena.kill(0, 9)
        arena.wait(0)
    arena.start(0, point)
    with arena.load(rate=1_000):
        if point == "mid-revoke":
            time.sleep(3)
            arena.start(1)
        arena.wait(0)
        arena.start(0)
        time.sleep(1)
    arena.drained()
    expect_exact()


@pytest.mark.timeout(120)
def test_term_under_load_loses_and_repeats_nothing(arena: Arena, expect_exact: Callable[[], None]) -> None:
    arena.start(0)
    with arena.load(rate=2_000):
        until(lambda: arena.outputs("player") > 0, 60, "the first outputs")
        time.sleep(1)
        arena.kill(0, 15)
        assert arena.wait(0) == 0
        arena.start(0)
    arena.drained()
    expect_exact()


def test_the_arena_sees_a_lost_and_a_repeated_output(arena: Arena, expect_exact: Callable[[], None]) -> None:
    """The oracle can fail: outputs that were tampered with are violations."""
    arena.send(200)
    arena.start(0)
    arena.drained()
    expect_exact()
    stream = arena.truth["scores"]
    next(iter(stream.values())).count += 1
    assert arena.check().violations
    assert set(PARTITIONS) == set(arena.truth)
