"""A table's state: all or nothing folds, missing fields, published memories, and the changelog that carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import Count, KvWindow, LinearAttention, Mean, MovingMean, MovingMin, MovingStd, Operator
from operators.columns.grouping import Floats
from operators.operator import Batch, Field, Layout, Readout, Shape, State
from pipeline import Stream, Table
from pipeline.core.batch import Events
from pipeline.core.changelog import Changelog
from pipeline.core.config.model import Emit, Missing
from pipeline.core.state import TableState

STREAM = Stream("scores", topic="scores", vectors={"v": 2})


@dataclass(frozen=True, kw_only=True)
class Picky(Operator):
    """Sums its value, and raises on 13."""

    value: str

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("sum"),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        if (batch.columns["value"] == 13).any():
            raise ArithmeticError("thirteen")
        np.add.at(state["sum"], batch.groups.segment, batch.columns["value"])
        return batch.columns["value"] if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return np.asarray(state["sum"], float)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"sum": float(s)} for s in state["sum"]]


def events(keys: Sequence[str], first: int = 0, **columns: Any) -> Events:
    """Events one after the other, from offset ``first``."""
    n = len(keys)
    return Events(
        index=np.arange(n),
        keys=[key.encode() for key in keys],
        offsets=np.arange(first, first + n),
        times=np.arange(first, first + n, dtype=float),
        columns={name: np.array(column, float) for name, column in columns.items()},
    )


def table(emit: Emit = "every", missing: Missing = "dead-letter", **operators: Operator) -> Table:
    return Table("t", stream=STREAM, operators=operators, emit=emit, missing=missing)


def test_every_event_gets_its_own_result_in_the_order_of_arrival() -> None:
    state = TableState(table(n=Count(), mean=Mean(value="x")))
    folded = state.fold(events(["a", "b", "a", "a", "b"], x=[1, 10, 2, 6, 20]))
    assert column(folded.results["n"]) == [1, 1, 2, 3, 2]
    assert column(folded.results["mean"]) == [1, 10, 1.5, 3, 15]
    assert state.live == 2
    assert folded.rejects == []


def test_an_overflow_is_refused_and_leaves_the_state_as_if_the_event_had_never_come() -> None:
    state = TableState(table(n=Count(), mean=Mean(value="x")))
    folded = state.fold(events(["a", "a", "b", "a", "a"], x=[1e308, 1.2e308, 5, -1e308, 3]))
    assert [(r.index, r.stage, r.reason, r.table) for r in folded.rejects] == [(1, "fold", "overflow", "t")]
    assert folded.index.tolist() == [0, 2, 3, 4]
    assert column(folded.results["n"]) == [1, 1, 2, 3]
    row = state.find(b"a")
    assert row is not None
    assert column(state.latest(np.array([row]))["mean"]) == [1.0]


def test_an_operator_that_raises_on_one_event_changes_nothing_else() -> None:
    state = TableState(table(n=Count(), sum=Picky(value="x")))
    folded = state.fold(events(["a", "b", "a", "c"] * 8, x=[1, 2, 13, 4] * 8))
    assert {r.stage for r in folded.rejects} == {"operator"}
    assert len(folded.rejects) == 8
    assert "thirteen" in folded.rejects[0].reason
    rows = state.rows([b"a", b"b", b"c"])
    assert column(state.latest(rows)["sum"]) == [8, 16, 32]
    assert column(state.latest(rows)["n"]) == [8, 8, 8]


def test_a_key_seen_only_in_refused_events_is_not_kept() -> None:
    state = TableState(table(sum=Picky(value="x")))
    state.fold(events(["a"], x=[13]))
    assert state.find(b"a") is None
    assert state.live == 0
    assert len(state.take_changed()) == 0


def test_a_missing_field_is_a_dead_letter_of_this_table() -> None:
    state = TableState(table(x=Mean(value="x"), y=Mean(value="y")))
    folded = state.fold(events(["a", "a", "a"], x=[1, np.nan, 3], y=[1, 2, 3]))
    assert [(r.index, r.table) for r in folded.rejects] == [(1, "t")]
    assert "x" in folded.rejects[0].reason
    assert column(folded.results["y"]) == [1, 2]


def test_skip_lets_each_operator_take_what_it_can_and_shows_its_latest_otherwise() -> None:
    state = TableState(table(missing="skip", x=Mean(value="x"), y=Mean(value="y")))
    nan = np.nan
    folded = state.fold(events(["a", "b", "a", "a", "b"], x=[nan, nan, 4, nan, nan], y=[1, 2, nan, 3, nan]))
    assert folded.rejects == []
    assert folded.skipped == 1
    assert folded.index.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(column(folded.results["x"]), [nan, nan, 4, 4])
    np.testing.assert_array_equal(column(folded.results["y"]), [1, 2, 1, 2])


def test_an_operator_without_fields_takes_every_event() -> None:
    state = TableState(table(missing="skip", n=Count(), x=Mean(value="x")))
    folded = state.fold(events(["a", "a", "a"], x=[1, np.nan, 3]))
    assert folded.skipped == 0
    assert column(folded.results["n"]) == [1, 2, 3]
    assert column(folded.results["x"]) == [1, 1, 2]


def test_the_memory_itself_can_be_published_after_every_event() -> None:
    memory = LinearAttention(key=("k0", "k1"), value=("v0", "v1"), feature_map="identity", publish="both")
    state = TableState(table(memory=memory))
    k, v = [[1, 0], [0, 2], [1, 1]], [[3, 4], [5, 6], [7, 8]]
    columns: dict[str, Any] = {
        "k0": [a[0] for a in k],
        "k1": [a[1] for a in k],
        "v0": [a[0] for a in v],
        "v1": [a[1] for a in v],
    }
    folded = state.fold(events(["m"] * 3, **columns))
    states = folded.results["memory.state"]
    assert isinstance(states, list)
    assert states[0]["mu"] == [[3, 4], [0, 0]]
    assert states[1]["nu"] == [1, 2]
    assert states[2] == {"mu": [[10, 12], [17, 20]], "nu": [2, 3]}
    assert column(folded.results["memory"])[2] == [5.4, 6.4]


def test_a_ring_of_times_has_those_of_the_events() -> None:
    state = TableState(table(least=MovingMin(value="x", window="5s", max_events=3)))
    folded = state.fold(events(["a", "a", "b", "a", "a", "b"], first=10, x=[1, 7, 8, 5, 6, 9]))
    rows = state.rows([b"a", b"b"])
    assert state.memories["least"].gather(rows).rings["time"].array[rows].tolist() == [[14, 11, 13], [12, 15, 0]]
    assert column(folded.results["least"]) == [1, 1, 8, 1, 5, 8]
    folded = state.fold(events(["a", "b", "b"], first=20, x=[9, 9, 7]))
    assert column(folded.results["least"]) == [9, 9, 7]


def column(result: Any) -> Any:
    """A result as plain numbers."""
    return result.tolist()


OPERATORS: dict[str, Operator] = {
    "n": Count(),
    "mean": Mean(value="x"),
    "vector": Mean(value="v"),
    "last": MovingMean(value="x", window=70),
    "window": KvWindow(key="v", value=("x", "y"), window=150),
    "panes": MovingStd(value="v", window="100s"),
    "exact": MovingMin(value="x", window="100s", max_events=90),
}


def wide_table(emit: Emit) -> Table:
    return Table("t", stream=STREAM, operators=OPERATORS, emit=emit)


def random_events(seed: int, n: int, first: int) -> Events:
    rng = np.random.default_rng(seed)
    keys = [f"key-{i}" for i in rng.zipf(1.3, n) % 40]
    return events(keys, first, x=rng.normal(size=n), y=rng.normal(size=n), v=rng.normal(size=(n, 2)))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.sampled_from(["every", "commit"]), st.integers(0, 5))
def test_a_changelog_restores_exactly_what_was_there(sizes: list[int], emit: Emit, seed: int) -> None:
    original, log = TableState(wide_table(emit)), dict[bytes, bytes | None]()
    changelog, first = Changelog(original), 0
    for turn, size in enumerate(sizes):
        original.fold(random_events(100 * seed + turn, size, first))
        first += size
        log.update(zip(*changelog.changes(original.take_changed()), strict=True))
    restored = TableState(wide_table(emit))
    reader = Changelog(restored)
    items = list(log.items())
    for at in range(0, len(items), 97):  # compacted, and in slices
        part = items[at : at + 97]
        reader.apply([key for key, _ in part], [value for _, value in part])
    reader.finish()
    assert reader.trouble is None
    assert restored.live == original.live
    more = random_events(seed + 7, 200, first)
    a, b = original.fold(more), restored.fold(more)
    for keys in [original.index.keys]:
        rows, others = original.rows(list(keys)), restored.rows(list(keys))
        for name, result in original.latest(rows).items():
            _same(result, restored.latest(others)[name])
    for name, result in a.results.items():
        _same(result, b.results[name])
    again = changelog.changes(original.take_changed())
    assert dict(zip(*again, strict=True)) == dict(
        zip(*Changelog(restored).changes(restored.take_changed()), strict=True)
    )


def _same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        for name, part in a.items():
            np.testing.assert_array_equal(part, b[name])
    else:
        np.testing.assert_array_equal(a, b)


def test_a_commit_writes_the_pages_that_changed_not_the_window() -> None:
    state = TableState(table(window=KvWindow(key="v", value="v", window=10_000)))
    changelog = Changelog(state)
    state.fold(random_events(1, 5_000, 0))
    changelog.changes(state.take_changed())
    state.fold(events(["key-1"], 5_000, x=[1], y=[1], v=[[1, 2]]))
    keys, values = changelog.changes(state.take_changed())
    assert sum(key.startswith(b"P") for key in keys) == 2
    assert sum(len(value or b"") for value in values) < 4_096


def test_foreign_records_are_trouble_and_the_meta_record_is_read_all_the_same() -> None:
    state = TableState(table(mean=Mean(value="x")))
    reader = Changelog(state)
    reader.apply([b"Xkey", b"Rkey"], [b"", b"\x01short"])
    assert reader.trouble is not None
    assert "did not write" in reader.trouble.cause


def test_a_newer_format_is_refused() -> None:
    reader = Changelog(TableState(table(mean=Mean(value="x"))))
    reader.apply([b"M"], [b'{"format": 99}'])
    assert reader.trouble is not None
    assert "format 99" in reader.trouble.cause


@dataclass(frozen=True, kw_only=True)
class Inverse(Picky):
    """Shows the inverse of its sum."""

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"inverse": inverse} for inverse in (1 / state["sum"]).tolist()]


def test_a_memory_that_divides_by_zero_is_shown_without_a_warning() -> None:
    state = TableState(table(own=Inverse(value="x"), mean=Mean(value="x")))
    state.fold(events(["a", "b"], x=[0, 4]))
    assert state.entries(np.array([0, 1]))[1] == {
        "own": [{"inverse": np.inf}, {"inverse": 0.25}],
        "mean": [{"count": 1, "mean": 0}, {"count": 1, "mean": 4}],
    }


def test_an_operator_that_has_taken_no_event_of_a_key_is_restored_too() -> None:
    skipping = table(missing="skip", x=Mean(value="x"), last=MovingMean(value="y", window=3))
    state, restored = TableState(skipping), TableState(skipping)
    state.fold(events(["a", "b"], x=[1, 2], y=[np.nan, 3]))
    reader = Changelog(restored)
    keys, values = Changelog(state).changes(state.take_changed())
    reader.apply(list[bytes | None](keys), values)
    reader.finish()
    assert reader.trouble is None
    assert restored.live == 2


@pytest.mark.parametrize("slices", [1, 2])
def test_deleted_keys_are_gone_after_a_restore(slices: int) -> None:
    state = TableState(table(mean=Mean(value="x")))
    state.fold(events(["a", "b"], x=[1, 2]))
    keys, values = Changelog(state).changes(state.take_changed())
    restored = TableState(table(mean=Mean(value="x")))
    reader = Changelog(restored)
    if slices == 1:
        reader.apply([*keys, b"Ra"], [*values, None])
    else:
        reader.apply(list[bytes | None](keys), values)
        reader.apply([b"Ra"], [None])
    reader.finish()
    assert restored.live == 1
    assert restored.find(b"a") is None
    assert restored.find(b"b") is not None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e9, 1e9)), max_size=60), st.integers(0, 60))
def test_the_state_does_not_depend_on_where_batches_are_split(pairs: list[tuple[str, float]], cut: int) -> None:
    exact: dict[str, Fraction] = {}
    counts: dict[str, int] = {}
    state = TableState(table(mean=Mean(value="x")))
    for part, first in [(pairs[:cut], 0), (pairs[cut:], cut)]:
        state.fold(events([key for key, _ in part], first, x=[x for _, x in part]))
    for key, x in pairs:
        exact[key] = exact.get(key, Fraction(0)) + Fraction(x)
        counts[key] = counts.get(key, 0) + 1
    for key, total in exact.items():
        row = state.find(key.encode())
        assert row is not None
        got = column(state.latest(np.array([row]))["mean"])[0]
        assert got == pytest.approx(float(total / counts[key]), rel=1e-12, abs=1e-3 * 1e-12)
