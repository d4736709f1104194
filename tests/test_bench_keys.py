"""The bench of many keys measures a worker that it fills, restores and overfills; its page has what it measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.keys.measure import Measurement, Phase, Results
from bench.keys.page import HEAD, page, rows
from scripts.markdown import table

ROOT = Path(__file__).parents[1]


def some_results() -> Results:
    phases = [
        Phase("fill", 10.0, 8.0, 3_000_000_000, 2_100_000_000),
        Phase("restore", 20.26, 9.0, 2_500_000_000, 2_000_000_000),
    ]
    return Results(10_000_000, 100_000_000, 460_000_000, phases, "table keys is full", 100_000, 10_000_000, 100_000)


def test_a_row_has_the_memory_of_a_phase_and_what_a_key_takes_of_it() -> None:
    empty, fill, restore = rows(some_results())
    assert empty[4] == "100 MB"
    assert fill == ("fill", "10.0", "8.0", "3,000 MB", "2,100 MB", "200")
    assert restore == ("restore", "20.3", "9.0", "2,500 MB", "2,000 MB", "190")


def test_the_page_has_the_rows_and_what_became_of_one_key_too_many() -> None:
    text = page(some_results())
    assert table(HEAD, rows(some_results())) in text
    assert "`table keys is full`" in text
    assert "`max_keys = 2,500,000`" in text
    assert "are 46 bytes of these" in text


def test_the_published_page_is_of_ten_million_keys_and_the_how_to_says_the_same() -> None:
    text = (ROOT / "docs/bounded-state.md").read_text("utf-8")
    assert text.startswith("# 10,000,000 keys in one worker\n")
    assert f"| {' | '.join(HEAD)} |" in text
    phases = {
        cells[0]: cells[1:] for line in text.splitlines() if len(cells := line.strip("| ").split(" | ")) == len(HEAD)
    }
    how_to = (ROOT / "docs/how-to/bound-the-state.md").read_text("utf-8")
    for what, said in {
        "the first event of each key": "after folding and committing a first event of each",
        "restore": "after a restore",
        'restore with `max_keys` and `on_full = "evict"`': 'after a restore with `max_keys` and `on_full = "evict"`',
    }.items():
        _, _, peak, after, each = phases[what]
        giga = [f"{int(size.removesuffix(' MB').replace(',', '')) / 1000:.1f} GB" for size in (after, peak)]
        assert f"| {said} | {giga[0]} | {each} bytes | {giga[1]} |" in how_to
    assert re.search(rf"took {float(phases['restore'][1]):.0f} seconds of one core", how_to)
    assert f"by the clock {float(phases['restore'][0]):.0f} seconds" in how_to


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_a_small_measurement_fills_restores_refuses_and_evicts(kafka: str) -> None:
    said: list[str] = []
    results = Measurement(2_000, said.append, rest=0).run(kafka)
    assert [phase.what for phase in results.phases] == [
        "the first event of each key",
        "restore",
        "another event of every 5th key",
        'restore with `max_keys` and `on_full = "evict"`',
        "20 new keys, as many evicted",
    ]
    assert all(phase.peak >= 0.9 * phase.after > 0 for phase in results.phases)
    assert "is full: it has 500 keys" in results.refused
    assert (results.left, results.evicted) == (2_000, 20)
    assert results.state >= 2_000 * 24
    assert said
