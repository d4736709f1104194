"""An arena for each test, replayed by its seed: `SEED=7 pytest tests/faults`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.arena import Arena

SEED = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)


@pytest.fixture
def arena(kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Arena]:
    """Two streams, three tables, no worker yet."""
    print(f"replay with SEED={SEED}")
    arena = Arena(kafka, tmp_path, topic_prefix, SEED)
    yield arena
    arena.stop()


@pytest.fixture
def expect_exact(arena: Arena) -> Callable[[], None]:
    """Counts what the workers wrote: as many outputs as events, in order, and every value right."""

    def expect() -> None:
        report = arena.check()
        assert report.violations == [], f"SEED={SEED}\n{arena.log()}"
        assert report.outputs == report.events

    return expect
