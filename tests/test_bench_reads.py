"""`make bench-reads` gets through, and tells the lag of all ways and what the readers met."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from bench.reads import __main__ as reads


@pytest.mark.timeout(300)
def test_lag_is_measured_with_readers_and_without(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "_SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(reads, "_LARGEST_SECONDS", 1.0)
    options = {"--share": 0.05, "--reads": 100, "--seconds": 1, "--rounds": 3, "--brokers": kafka}
    arguments = [str(text) for option in options.items() for text in option]
    done = CliRunner().invoke(reads.command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (asked,) = re.findall(
        r"([\d,]+) reads a second at 5% of the largest load: a lag of [\d,]+ ms beside [\d,]+ ms at the median while a "
        r"server that does nothing is asked as much, and [\d,]+ ms while nobody is;",
        done.output,
    )
    assert int(asked.replace(",", "")) > 0
    assert len(re.findall(r"round \d, (?:quiet|elsewhere|read): lag of", done.output)) == 9
    assert len(re.findall(r"moving by [+-]\d+\.\d (?:± \d+\.\d )?ms a second;", done.output)) == 12
    assert re.findall(r"round (\d), (\w+)", done.output) == [
        ("1", "quiet"), ("1", "elsewhere"), ("1", "read"),
        ("2", "elsewhere"), ("2", "read"), ("2", "quiet"),
        ("3", "read"), ("3", "quiet"), ("3", "elsewhere"),
    ]  # fmt: skip
    apart = r"[+-][\d.]+ ± [\d.]+"
    by_rounds = rf"; {apart} and {apart} ms a round, moving by {apart}, {apart} and {apart} ms a second"
    assert len(re.findall(by_rounds, done.output)) == 1
    for refused in re.findall(r"(\d+) refused", done.output):
        assert int(refused) < 20, "every key is there"


def test_lag_is_that_of_the_moment_in_which_the_group_was_asked() -> None:
    """A thousand events a second come, and the group is 40 behind, however long the looks at the logs take."""
    ends = [(second, int(second * 1000)) for second in (10.0, 10.25, 10.75, 11.0)]
    done = [(second, int(second * 1000) - 40) for second in (10.1, 10.5, 10.9)]
    assert reads.behind(done, ends).tolist() == pytest.approx([40, 40, 40])


def test_how_much_more_the_lag_is_is_told_by_rounds() -> None:
    quiet, read = ([reads.Window([lag], 0, 0, 0, 0) for lag in lags] for lags in ((0.1, 0.2), (0.11, 0.23)))
    assert reads.raised(quiet, read) == "+20.0 ± 10.0"
    assert reads.raised(quiet[:1], read[:1]) == "+10.0"
