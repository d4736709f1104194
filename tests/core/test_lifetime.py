"""Keys that go: by a null value, by age, to make room. Every test compares with a dict that is kept event by event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import Count
from pipeline import App, Table
from pipeline.core.batch import WireBatch
from pipeline.core.changelog import META
from pipeline.core.partition import Identity, Partition
from pipeline.errors import RunError
from tests.core.lifetimes import OPERATORS, REFUSED, STREAM, Exact, Log, Sent, expected


def published(log: Log) -> Iterator[tuple[str, int | None, Fraction | None]]:
    for key, record in log.out:
        yield (key, None, None) if record is None else (key, record["n"], Fraction(record["sum"]))


numbers = st.integers(-50, 50).map(float) | st.sampled_from([None, REFUSED])
times = st.integers(0, 60).map(float) | st.just(1e6)
history = st.lists(st.builds(Sent, st.sampled_from("abcdefgh"), times, numbers), max_size=120)
"""Old and new events in any order, one in many from the far future; nulls; numbers that an operator refuses."""


@given(
    history,
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["fold", "commit", "restart"])), max_size=12),
    st.sampled_from([None, 5.0, 20.0]),
    st.sampled_from([None, 1, 3, 6]),
    st.booleans(),
)
def test_what_is_left_and_published_is_that_of_a_dict_however_batches_and_restarts_fall(
    sent: list[Sent], turns: list[tuple[int, str]], ttl: float | None, max_keys: int | None, memories: bool
) -> None:
    exact, operators = Exact(ttl, max_keys), OPERATORS
    if memories:
        operators = {name: replace(operator, publish="both") for name, operator in OPERATORS.items()}
    full: dict[str, Any] = {} if max_keys is None else {"max_keys": max_keys, "on_full": "evict"}
    log, done = Log(ttl=ttl, operators=operators, **full), 0
    for size, then in [*turns, (len(sent), "commit")]:
        part, done = sent[done : done + size], done + size
        log.fold(part)
        if then == "restart":  # nothing of what was folded since the last commit is there any more
            log.start()
            done = log.position
        elif then == "commit":
            log.commit()
    for offset, event in enumerate(sent):
        exact.take(offset, event)
    assert list(published(log)) == exact.out
    assert sorted(log.reasons) == sorted(exact.reasons)
    assert log.refused == sum(event.x == REFUSED for event in sent)
    assert log.live() == expected(exact)
    log.start()
    assert log.live() == expected(exact)
    kept = {key for key, value in log.records.items() if value is not None and key != META}
    assert {key[1:2].decode() for key in kept} == set(exact.seen), "a page or a row of a dropped key is in the log"


def sent(*events: tuple[str, float, float | None]) -> list[Sent]:
    return [Sent(*event) for event in events]


def keys_of(log: Log) -> set[str]:
    return set(log.live())


def test_an_event_a_null_and_an_event_of_one_key_in_one_batch_are_three_steps() -> None:
    log = Log()
    log.fold(sent(("a", 0, 1), ("a", 1, 2), ("b", 2, 7), ("a", 0, None), ("a", 3, 5), ("b", 0, None), ("c", 0, None)))
    cut = log.commit()
    assert [(key, record and record["n"]) for key, record in log.out] == [
        ("a", 1), ("a", 2), ("b", 1), ("a", None), ("a", 1), ("b", None),
    ]  # fmt: skip
    assert log.live() == {"a": [1, 5, 5]}
    assert cut.counts.dropped == {("t", "null"): 2}
    assert log.refused == 0


def test_with_emit_commit_a_key_that_is_gone_at_the_cut_gets_a_null_and_one_that_came_again_its_latest() -> None:
    log = Log(emit="commit")
    log.fold(sent(("a", 0, 1), ("b", 0, 1)))
    log.commit()
    log.out.clear()
    log.fold(sent(("a", 0, None), ("b", 0, None), ("b", 0, 4)))
    log.commit()
    assert [(key, record and (record["n"], record["sum"])) for key, record in log.out] == [("a", None), ("b", (1, 4))]


def test_a_null_is_a_dead_letter_of_the_tables_that_do_not_delete() -> None:
    tables = [Table("t", stream=STREAM, operators=OPERATORS, on_null="delete")]
    tables += [Table(name, stream=STREAM, operators={"n": Count()}) for name in ("u", "v")]
    partition = Partition(App("app", tables=tables), STREAM, 0, 1)
    partition.resume(0, Identity("id", "source", {"t": "1", "u": "2", "v": "3"}, 0, 1_000_000))
    values = [b'{"x": 1, "ts": 1}', None, None, b"bad"]
    keys = [b"a", b"a", None, b"a"]
    partition.fold(WireBatch("s", 0, 0, 4, keys, values, range(4), [0] * 4))
    letters = next(append for append in partition.cut().appends if append.topic == "app-dead-letters")
    told = [{name: (value or b"").decode() for name, value in headers} for headers in letters.headers]
    assert [(one["offset"], one["stage"], one.get("table")) for one in told] == [
        ("1", "decode", "u"), ("1", "decode", "v"), ("2", "key", None), ("3", "decode", None),
    ]  # fmt: skip
    assert partition.tables["t"].state.find(b"a") is None
    assert partition.tables["u"].state.find(b"a") is not None


@pytest.mark.parametrize("ahead", [1e3, 1e12])
def test_one_event_from_the_future_drops_nothing_and_does_not_stop_time(ahead: float) -> None:
    log = Log(ttl=100.0)
    log.fold(sent(("a", 0, 1), ("b", 1, 1), ("c", ahead, 1), ("b", 2, 1), ("b", 50, 1), ("c", ahead, 1), ("b", 60, 1)))
    assert keys_of(log) == {"a", "b", "c"}
    log.fold(sent(("b", 107, 1), ("b", 108, 1)))
    assert keys_of(log) == {"b", "c"}


def test_a_late_event_keeps_its_key_for_a_whole_ttl() -> None:
    log = Log(ttl=100.0)
    log.fold(sent(("a", 1000, 1), ("a", 1000, 1), ("late", 1, 1), ("a", 1099, 1), ("a", 1099, 1)))
    assert keys_of(log) == {"a", "late"}
    log.fold(sent(("a", 1107, 1), ("a", 1107, 1)))
    assert keys_of(log) == {"a"}


def test_a_ttl_given_to_a_table_that_has_keys_counts_from_the_first_events_after() -> None:
    log = Log()
    log.fold(sent(("old", 0, 1), ("a", 5, 1)))
    log.commit()
    log.table = replace(log.table, ttl=100.0)
    log.start()
    log.fold(sent(("a", 1000, 1), ("a", 1001, 1), ("a", 1100, 1), ("a", 1100, 1)))
    assert keys_of(log) == {"old", "a"}
    log.fold(sent(("a", 1110, 1), ("a", 1110, 1)))
    assert keys_of(log) == {"a"}


def test_what_a_clock_keeps_is_of_constant_size() -> None:
    log = Log(ttl=10.0)
    for second in range(0, 2_000, 50):
        log.fold(sent(*[("a", second + n, 1) for n in range(50)]))
    log.commit()
    meta = json.loads(log.records[META] or b"")
    assert 30 < len(meta["passed"]["marks"]) <= 34 or len(meta["passed"]["marks"]) == 11
    assert len(log.records[META] or b"") < 1_500


def test_a_key_too_many_stops_the_table_that_says_so_and_names_the_event() -> None:
    log = Log(max_keys=2)
    log.fold(sent(("a", 0, 1), ("b", 0, 1), ("a", 0, None), ("c", 0, 1), ("b", 0, 1)))
    assert keys_of(log) == {"b", "c"}
    with pytest.raises(RunError, match=r"table t is full: it has 2 keys in partition 0 of s, .* offset 6 ") as stopped:
        log.fold(sent(("b", 0, 1), ("d", 0, 1), ("d", 0, None)))
    assert "max_keys" in stopped.value.mend


def test_a_key_that_makes_room_is_published_as_gone_before_the_one_that_comes() -> None:
    log = Log(max_keys=1, on_full="evict")
    log.fold(sent(*[("ab"[n % 2], 0, 1) for n in range(200)]))
    log.commit()
    found = [(key, record is None) for key, record in log.out]
    assert found == [
        ("a", False),
        *[("a", True), ("b", False), ("b", True), ("a", False)] * 99,
        ("a", True),
        ("b", False),
    ]


def test_a_refused_event_of_a_new_key_makes_no_room_and_stops_nothing() -> None:
    for on_full in ("stop", "evict"):
        log = Log(max_keys=1, on_full=on_full)
        log.fold(sent(("a", 0, 1), ("b", 0, REFUSED), ("a", 0, 2)))
        assert log.live() == {"a": [2, 3, 1.5]}


def test_a_lower_limit_makes_room_at_the_next_new_key() -> None:
    log = Log(max_keys=5, on_full="evict")
    log.fold(sent(*[(key, 0, 1) for key in "abcde"], ("a", 0, 1)))
    log.commit()
    log.table = replace(log.table, max_keys=2)
    log.start()
    log.fold(sent(("c", 0, 1)))
    assert keys_of(log) == set("abcde")
    log.fold(sent(("f", 0, 1)))
    assert keys_of(log) == {"c", "f"}


@pytest.mark.parametrize("how", [{"ttl": 50.0}, {"max_keys": 50, "on_full": "evict"}, {}])
def test_state_does_not_grow_while_keys_come_and_go(how: dict[str, Any]) -> None:
    log, sizes = Log(emit="commit", **how), []
    for turn in range(60):
        events = [(f"key-{turn}-{n}", float(turn * 50 + n), 1.0) for n in range(50)]
        nulls = [] if how else [(key, 0.0, None) for key, _, _ in events]
        log.fold(sent(*events, *nulls))
        log.commit()
        sizes.append(log.partition.tables["t"].state.nbytes)
        log.records = {key: value for key, value in log.records.items() if value is not None}
        if turn == 40:
            log.start()
    state = log.partition.tables["t"].state
    assert state.index.span <= 256
    assert max(sizes[8:40]) == max(sizes[8:24])
    assert max(sizes[44:]) <= max(sizes[8:40])
    assert len(log.records) <= 1 + 2 * 104


@pytest.mark.parametrize("limits", [{}, {"max_keys": 1, "on_full": "evict"}, {"ttl": 1.0}])
def test_rows_of_keys_that_only_had_refused_events_are_used_again(limits: dict[str, Any]) -> None:
    log = Log(**limits)
    for turn in range(20):
        log.fold(sent(*[(f"{turn}-{n}", 0.0, REFUSED) for n in range(30)], ("good", 0, 1), ("good", 0, 1)))
    state = log.partition.tables["t"].state
    assert (state.live, state.index.span < 64) == (1, True)


def test_the_key_whose_last_event_is_oldest_makes_room() -> None:
    log = Log(max_keys=2, on_full="evict")
    log.fold(sent(("a", 9, 1), ("b", 8, 1), ("a", 7, 1), ("c", 6, 1)))
    assert keys_of(log) == {"a", "c"}
    log.fold(sent(("a", 0, 1), ("d", 0, 1)))
    assert keys_of(log) == {"a", "d"}
    assert log.live()["a"][0] == 3


def test_a_key_that_came_again_leaves_no_page_of_its_former_window_behind() -> None:
    log = Log()
    log.fold(sent(*[("a", 0, float(n)) for n in range(200)]))
    log.commit()
    assert sum(key[:2] == b"Pa" and value is not None for key, value in log.records.items()) == 2
    log.fold(sent(("a", 0, None), ("a", 0, 3)))
    log.commit()
    assert sum(key[:2] == b"Pa" and value is not None for key, value in log.records.items()) == 1
    log.start()
    assert log.live() == {"a": [1, 3, 3]}


def test_a_log_that_is_not_compacted_yet_leaves_nothing_of_a_former_window_either() -> None:
    log = Log()
    log.fold(sent(*[("a", 0, float(n)) for n in range(200)]))
    cuts = [log.commit()]
    log.fold(sent(("a", 0, None), ("a", 0, 3)))
    cuts.append(log.commit())
    restored = Partition(App("app", tables=[log.table]), STREAM, 0, 1)
    for cut in cuts:
        (records,) = [append for append in cut.appends if append.topic == "app-t-changelog"]
        restored.tables["t"].changelog.apply(records.keys, records.values)
    restored.tables["t"].changelog.finish()
    states = [partition.tables["t"].state for partition in (log.partition, restored)]
    before, after = [state.memories["last"].rings["value"][state.find(b"a")] for state in states]
    np.testing.assert_array_equal(after, before)


def test_a_key_dropped_twice_before_a_commit_leaves_no_page_behind() -> None:
    log = Log()
    log.fold(sent(*[("a", 0, float(n)) for n in range(200)]))
    log.commit()
    log.fold(sent(("a", 0, None), ("a", 0, 3), ("a", 0, None)))
    log.fold(sent(("a", 0, 3), ("a", 0, None)))
    log.commit()
    assert [key for key, value in log.records.items() if value is not None] == [META]
