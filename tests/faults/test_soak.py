"""The long form of the fault run: `make soak MINUTES=30 SEED=7`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.faults.arena import Arena

MINUTES = float(os.environ.get("MINUTES") or 10)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_soak(arena: Arena, expect_exact: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Random faults on two workers under load, for as long as asked; then every output is counted."""
    arena.start(0)
    arena.start(1)
    end = time.monotonic() + 60 * MINUTES
    with arena.load(rate=2_000):
        while time.monotonic() < end:
            time.sleep(arena.random.uniform(0.5, 3))
            arena.fault()
            arena.revive()
            with capsys.disabled():
                print(f"\r{len(arena.faults)} faults, {(end - time.monotonic()) / 60:.1f} minutes to go ", end="")
    arena.drained(120)
    expect_exact()
    with capsys.disabled():
        print(f"\nfaults: {dict(Counter(arena.faults))}, no violation")
