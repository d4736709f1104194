"""What a pipeline knows after kills, and after a reset, is what one knows that was never disturbed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.arena import TABLES, TOLERANCE, Arena

KILLS = ("after fold", "mid-transaction", "after commit", "mid-restore")


def expect_same(one: Arena, other: Arena) -> None:
    """Every result of every key is the same in both: counts bit for bit, values to 1e-12 of the largest."""
    for table in TABLES:
        expected, found = one.history(table), other.history(table)
        assert found.keys() == expected.keys()
        for key, results in expected.items():
            if table == "latest":  # one result a commit: where commits fall differs, the newest does not
                results, found[key] = results[-1:], found[key][-1:]  # noqa: PLW2901
            assert [r["games"] for r in found[key]] == [r["games"] for r in results], f"{table}: {key}"
            for name in results[0].keys() - {"games"}:
                assert [r[name] for r in found[key]] == pytest.approx([r[name] for r in results], rel=0, abs=TOLERANCE)


@pytest.mark.timeout(180)
def test_kills_and_a_reset_leave_what_a_quiet_run_leaves(
    arena: Arena, expect_exact: Callable[[], None], kafka: str, tmp_path: Path
) -> None:
    struck = Arena(kafka, tmp_path, f"{arena.name}-struck", 0, beside=arena)
    try:
        for point in KILLS:
            arena.send(800)
            struck.start(0, point)
            assert struck.wait(0) == -9, struck.log()
        struck.start(0)
        struck.drained()
        arena.start(0)
        arena.drained()
        expect_exact()
        expect_same(arena, struck)
        struck.kill(0, 15)
        assert struck.wait(0) == 0
        reset = [sys.executable, "-m", "pipeline.cli", "reset", str(struck.file), "--yes", "--outputs"]
        subprocess.run(reset, env=struck.environment(), check=True, timeout=60, stdout=subprocess.DEVNULL)
        struck.start(0)
        struck.drained()
        assert struck.check().violations == []
        expect_same(arena, struck)
    finally:
        struck.stop()
