"""`make bench-repartition` gets through, and tells both ways of both kinds of tables."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bench.repartition.__main__ import EMITS, WAYS, command


@pytest.mark.timeout(300)
def test_each_way_is_measured_and_compared() -> None:
    done = CliRunner().invoke(command, ["--events", "3000", "--keys", "50", "--rounds", "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rounds = [line for line in done.output.splitlines() if line.startswith("round 1: ")]
    assert len(rounds) == len(EMITS) * len(WAYS)
    assert all("ns of CPU an event" in line for line in rounds)
    for emit in EMITS:
        assert f"emit = {emit}: repartitioned at " in done.output
