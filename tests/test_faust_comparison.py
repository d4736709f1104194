"""The comparison counts right, treats all alike, and its published page has the table that it would write today."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.faust_comparison import page
from bench.faust_comparison.contest import Outcome
from bench.faust_comparison.contestants import CONTESTANTS, FaustAtLeastOnce
from bench.faust_comparison.script import FAULTS, WORKERS, script
from bench.faust_comparison.tally import Tally, silences, tally

PUBLISHED = Path(__file__).parents[1] / "docs" / "comparison-faust.md"


def results(**counts: int) -> list[tuple[str, int]]:
    """Each key's results, 1 to n."""
    return [(key, number) for key, last in counts.items() for number in range(1, last + 1)]


def test_a_table_that_is_right_has_neither_surplus_nor_loss() -> None:
    sent = {"a": 3, "b": 2}
    assert tally(sent, sent, results(a=3, b=2)) == Tally(5, 5, 0, 0, 5, 0, 0)


def test_what_one_key_has_too_much_does_not_make_up_for_what_another_lacks() -> None:
    found = tally({"a": 3, "b": 2, "c": 1}, {"a": 6, "b": 1}, [])
    assert (found.counted, found.surplus, found.loss) == (7, 3, 2)


def test_a_key_that_was_never_sent_is_surplus() -> None:
    assert tally({"a": 1}, {"a": 1, "z": 4}, results(a=1)).surplus == 4


def test_results_are_missing_repeated_or_never_due() -> None:
    found = tally({"a": 3, "b": 2}, {}, [("a", 1), ("a", 3), ("a", 3), ("a", 4), ("b", 1), ("c", 1)])
    assert (found.published, found.missing, found.repeated) == (6, 2, 3)
    assert found.events - found.missing + found.repeated == found.published


def test_a_silence_is_that_of_the_partition_that_fares_worst() -> None:
    steady = [float(second) for second in range(30)]
    halting = [second for second in steady if not 10 < second < 17]
    assert silences({0: steady, 1: halting}, [9.5, 20.5], 29.5, [0, 1]) == [7, 1]


def test_a_silence_counts_from_the_fault_until_the_load_ends() -> None:
    assert silences({0: [1.0, 2.0, 10.0]}, [4.0], 30.0, [0]) == [20]
    assert silences({0: [1.0, 2.0]}, [4.0, 9.0], 30.0, [0]) == [26, 21]
    assert silences({}, [4.0], 30.0, [3]) == [26]


def test_a_script_has_every_fault_and_is_replayed_by_its_seed() -> None:
    steps, seconds = script(7)
    assert sorted(step.kind for step in steps) == sorted(FAULTS)
    assert {step.worker for step in steps} <= set(range(WORKERS))
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert steps[-1].at + 10 < seconds < 90
    assert script(7) == (steps, seconds)
    assert script(8) != (steps, seconds)


def test_all_contestants_get_the_same_events(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    arenas = [kind(kafka, tmp_path, f"{topic_prefix}-{n}", seed=7) for n, kind in enumerate(CONTESTANTS)]
    for arena in arenas:
        arena.send(200)
    assert arenas[0].sent == arenas[1].sent == arenas[2].sent
    assert sum(arenas[0].sent.values()) == 200


def test_the_state_of_faust_is_the_last_record_of_each_key(
    monkeypatch: pytest.MonkeyPatch, kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    arena = FaustAtLeastOnce(kafka, tmp_path, topic_prefix, seed=7)

    class Record:
        def __init__(self, key: bytes, value: bytes) -> None:
            self.key, self.value = key, value

    monkeypatch.setattr(arena, "changelog", lambda: [Record(b"a", b"1"), Record(b"b", b"1"), Record(b"a", b"2")])
    assert arena.table() == {"a": 2, "b": 1}


def test_the_row_says_what_was_counted() -> None:
    outcome = Outcome("x", Tally(5_000, 5_480, 481, 1, 5_500, 2, 502), silences=[1.0, 9.0, 4.0], left=3)
    (row,) = page.rows([outcome])
    assert row == ("x", "5,000", "5,480", "+481", "-1", "5,500", "2", "502", "4.0 s", "9.0 s", "3")
    assert len(row) == len(page.HEAD)
    (failed,) = page.rows([Outcome("y")])
    assert failed[:2] == ("y", "did not start")
    assert len(failed) == len(page.HEAD)


def test_the_published_page_has_this_table_and_its_rows_add_up() -> None:
    lines = PUBLISHED.read_text("utf-8").splitlines()
    start = lines.index(f"| {' | '.join(page.HEAD)} |")
    rows = [line.strip("| ").split(" | ") for line in lines[start + 2 : start + 2 + len(CONTESTANTS)]]
    assert [row[0] for row in rows] == [kind.title for kind in CONTESTANTS]
    for row in rows:
        if row[1] == "did not start":
            continue
        events, counted, surplus, loss, published, missing, repeated = (int(cell.replace(",", "")) for cell in row[1:8])
        assert counted == events + surplus + loss
        assert published == events - missing + repeated
    assert [rows[-1][column] for column in (3, 4, 6, 7, 10)] == ["0"] * 5
