"""A memory of many keys without Kafka: what goes in, what comes out, what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators import Count, Ewma, KvMean, KvWindow, LinearAttention, Mean, Memory, MovingMean, Operator, OperatorError
from operators.columns.grouping import Floats
from operators.operator import Batch, Field, Layout, Readout, Ring, Shape, State


def scores(**keys: Sequence[float]) -> Memory:
    """A memory of means with these scores of each key."""
    memory = Memory(Mean(value="score"))
    for key, values in keys.items():
        memory.fold([key] * len(values), {"score": values}, each=False)
    return memory


def test_results_come_in_the_order_of_arrival() -> None:
    memory = Memory(Mean(value="score"))
    assert memory.fold(["ann", "bob", "ann"], {"score": [1, 5, 2]}).tolist() == [1.0, 5.0, 1.5]  # type: ignore[union-attr]
    assert memory.fold(["bob", "cid"], {"score": [6, 7]}, each=False) is None
    assert np.asarray(memory.read()).tolist() == [1.5, 5.5, 7.0]
    assert (memory.keys, len(memory)) == (["ann", "bob", "cid"], 3)


@pytest.mark.parametrize(
    "keys",
    [
        ["a", "b", "a"],
        [b"a", b"b", b"a"],
        [("a", 1), ("b", 1), ("a", 1)],
        np.array([3, 2**40, 3]),
        np.array(["a", "b", "a"]),
        pd.Series(["a", "b", "a"], index=[7, 8, 9]),
        (key for key in "aba"),
    ],
    ids=lambda keys: type(keys).__name__,
)
def test_keys_are_anything_that_can_be_hashed(keys: Any) -> None:
    memory = Memory(Count())
    assert np.asarray(memory.fold(keys)).tolist() == [1, 1, 2]
    assert len(memory) == 2


def test_columns_may_be_those_of_a_data_frame() -> None:
    frame = pd.DataFrame({"machine": ["a", "b"], "rpm": [1.0, 2.0], "temp": [3.0, 4.0], "power": [5.0, 6.0]})
    memory = Memory(KvMean(key=["rpm", "temp"], value=["power"]))
    result = memory.fold(frame["machine"], frame)
    assert isinstance(result, dict)
    assert result["key"].tolist() == [[1, 3], [2, 4]]


def test_a_vector_field_is_told_by_its_length() -> None:
    memory = Memory(Mean(value="v"), vectors={"v": 2, "other": 9})
    assert memory.fold("aa", {"v": [[1, 2], [3, 6]]}).tolist() == [[1, 2], [2, 4]]  # type: ignore[union-attr]
    with pytest.raises(OperatorError, match="found the number 'k', expected the name of a vector field"):
        Memory(KvMean(key="k", value=["x"]))


def test_without_times_all_events_are_at_once() -> None:
    memory = Memory(Ewma(value="x", half_life=1.0))
    assert memory.fold("aa", {"x": [1, 3]}).tolist() == [1, 2]  # type: ignore[union-attr]
    assert memory.fold("bb", {"x": [1, 4]}, [0.0, 1.0]).tolist() == [1, 3]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("keys", "columns", "times", "error", "said"),
    [
        ("ab", {"x": [1.0]}, None, ValueError, r"value: found the shape \(1,\), expected \(2,\)"),
        ("ab", {"x": [[1.0], [2.0]]}, None, ValueError, r"value: found the shape \(2, 1\), expected \(2,\)"),
        ("ab", {"x": [1.0, math.nan]}, None, ValueError, "value: found a number that is not finite"),
        ("ab", {"x": [1.0, 2.0]}, [0.0, math.inf], ValueError, "time: found a number that is not finite"),
        ("ab", {"x": [1.0, 2.0]}, [0.0], ValueError, r"time: found the shape \(1,\), expected \(2,\)"),
        ("ab", {"y": [1.0, 2.0]}, None, KeyError, "x"),
        ("ab", None, None, ValueError, "found no columns, expected 'x'"),
        (["a", ["b"]], {"x": [1.0, 2.0]}, None, TypeError, "unhashable"),
        ("ba", {"x": [1.0, 1.7e308]}, None, OverflowError, "Mean can't take this in: its field 'sum' would not be"),
    ],
)
def test_what_is_refused_leaves_the_memory_as_it_was(
    keys: Any, columns: Any, times: Any, error: type[Exception], said: str
) -> None:
    memory = Memory(Mean(value="x"))
    memory.fold("a", {"x": [1.7e308]})
    before = memory.to_bytes()
    with pytest.raises(error, match=said):
        memory.fold(keys, columns, times)
    assert memory.to_bytes() == before
    assert "b" not in memory


def test_reads_are_of_the_keys_that_are_asked_for() -> None:
    memory = scores(ann=[1, 2], bob=[5])
    assert np.asarray(memory.read(["bob", "ann", "bob"])).tolist() == [5.0, 1.5, 5.0]
    assert str(np.asarray(memory.read(["nobody", "bob"])).tolist()) == "[nan, 5.0]"
    assert memory.export(["ann", "nobody"]) == [{"count": 2, "mean": 1.5}, {"count": 0, "mean": None}]
    assert memory.state(["nobody"])["count"].tolist() == [0]
    assert "nobody" not in memory
    assert Memory(Count()).read().tolist() == []  # type: ignore[union-attr]


@pytest.mark.parametrize("keys", [0, 1, 63, 64, 65, 128])
def test_a_key_that_was_never_seen_has_no_events_however_many_there_are(keys: int) -> None:
    memory = Memory(Count())
    memory.fold(range(keys))
    assert np.asarray(memory.read(["nobody", *range(keys), "no one"])).tolist() == [0, *[1] * keys, 0]
    assert len(memory) == keys


def test_a_query_is_for_all_keys_or_one_for_each() -> None:
    memory = Memory(LinearAttention(key=["a", "b"], value=["c"], feature_map="identity"))
    memory.fold("xxy", {"a": [1, 0, 1], "b": [0, 1, 1], "c": [3, 5, 7]})
    assert np.asarray(memory.read(query=[1, 0])).tolist() == [[3], [7]]
    assert np.asarray(memory.read(query=[[0, 1], [0, 1]])).tolist() == [[5], [7]]
    assert np.asarray(memory.read(["x"], query=[0, 1])).tolist() == [[5]]
    with pytest.raises(ValueError, match=r"query: found the shape \(3,\), expected \(2,\), or one for each key"):
        memory.read(query=[1, 0, 0])
    with pytest.raises(ValueError, match="Mean takes no query"):
        scores(ann=[1]).read(query=[1])


def test_state_can_be_looked_at_but_not_be_changed() -> None:
    memory = Memory(MovingMean(value="x", window=2))
    memory.fold("a", {"x": [1.0]})
    state = memory.state()
    state["count"] += 5
    with pytest.raises(ValueError, match="read-only"):
        state.rings["value"].array[0, 0] = 7.0
    assert memory.export() == [{"count": 1, "window": [1.0]}]


def test_bytes_grow_with_keys_and_not_with_events() -> None:
    memory = Memory(MovingMean(value="x", window=4))
    sizes = []
    for keys in ("a" * 1000, "b", "ab" * 1000):
        memory.fold(keys, {"x": np.ones(len(keys))})
        sizes.append(memory.nbytes)
    assert sizes == [8 * (4 + 4), 2 * 8 * (4 + 4), 2 * 8 * (4 + 4)]


# Merging


def test_merged_means_are_those_of_all_events() -> None:
    memory = scores(ann=[1, 2], bob=[5])
    memory.merge(scores(bob=[7], cid=[9]))
    assert memory.export(["ann", "bob", "cid"]) == [
        {"count": 2, "mean": 1.5},
        {"count": 2, "mean": 6.0},
        {"count": 1, "mean": 9.0},
    ]
    memory.merge(memory)
    assert memory.export(["bob"]) == [{"count": 4, "mean": 6.0}]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 1), (2, 2), (2, 3), (3, 7), (7, 2), (8, 9), (1, 0)])
def test_merged_windows_hold_the_newest_of_both_in_their_slots(first: int, second: int) -> None:
    values = np.arange(1.0, first + second + 1)
    a, b, both = (Memory(MovingMean(value="x", window=3)) for _ in range(3))
    a.fold(["k"] * first, {"x": values[:first]})
    b.fold(["k"] * second, {"x": values[first:]})
    both.fold(["k"] * (first + second), {"x": values})
    a.merge(b)
    assert a.export() == both.export() == [{"count": first + second, "window": values[-3:].tolist()}]
    for x in (10.0, 20.0, 30.0, 40.0):
        assert np.asarray(a.fold("k", {"x": [x]})).tolist() == np.asarray(both.fold("k", {"x": [x]})).tolist()
        assert a.export() == both.export()


def test_the_newest_prediction_is_the_one_that_was_made() -> None:
    a, b = (Memory(KvWindow(key=["k"], value=["v"], window=2, readout="before")) for _ in range(2))
    a.fold("x", {"k": [1], "v": [5]})
    b.fold("xx", {"k": [1, 1], "v": [7, 9]})
    made = b.read()
    assert isinstance(made, dict)
    a.merge(b)
    got = a.read()
    assert isinstance(got, dict)
    assert (got["value"].tolist(), got["error"].tolist()) == (made["value"].tolist(), made["error"].tolist())
    assert (made["value"].tolist(), made["error"].tolist()) == ([[7]], [[2]])


def test_the_newest_query_is_the_other_ones_where_it_has_any_event() -> None:
    a, b = (Memory(LinearAttention(key=["k"], value=["v"], query=["q"], feature_map="identity")) for _ in range(2))
    a.fold("xy", {"k": [1, 1], "v": [5, 7], "q": [2, 3]})
    b.fold("x", {"k": [1], "v": [9], "q": [4]})
    a.merge(b)
    assert a.state()["query"].tolist() == [[4], [3]]


@pytest.mark.parametrize(
    ("other", "vectors"),
    [(Mean(value="y"), {}), (Count(), {}), (Mean(value="x"), {"x": 2}), (Ewma(value="x", alpha=0.1), {})],
)
def test_memories_of_different_operators_do_not_merge(other: Operator, vectors: Mapping[str, int]) -> None:
    with pytest.raises(OperatorError, match=r"found a memory of .*, expected"):
        Memory(Mean(value="x")).merge(Memory(other, vectors))


def test_what_is_published_makes_no_other_memory() -> None:
    one, other = Memory(Count()), Memory(Count(publish="both"))
    other.fold("a")
    one.merge(other)
    assert Memory.from_bytes(one.to_bytes(), Count(publish="state")).export() == [{"count": 1}]


def test_a_merge_that_would_overflow_changes_nothing() -> None:
    one, other = scores(ann=[1.7e308], bob=[1]), scores(ann=[1.7e308], cid=[1])
    before = one.to_bytes()
    with pytest.raises(OverflowError):
        one.merge(other)
    assert one.to_bytes() == before


@dataclass(frozen=True, kw_only=True)
class Broken(Operator):
    """Keeps two windows of different lengths; ``left`` says what it makes of its state."""

    value: str
    left: str = ""

    algebra = "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("count", dtype="<i8"), Field("x")), (Ring("value", 2), Ring("time", 3)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        state["count"] += batch.groups.count
        if self.left == "dtype":
            state.fields["count"] = state["count"].astype(float)
        if self.left == "shape":
            state.fields["x"] = np.zeros((len(state["count"]), 2))
        return np.zeros(len(batch.time)) if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return state["x"]

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{}] * len(state["count"])


@dataclass(frozen=True, kw_only=True)
class Alone(Broken):
    """Keeps windows, and does not say how partial states combine."""

    algebra = "none"  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Windowless(Broken):
    """Says that partial states combine, and has neither a method for it nor all that there is to know in windows."""

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("count", dtype="<i8"), Field("x")))


@pytest.mark.parametrize("operator", [Alone(value="x"), Windowless(value="x")], ids=["algebra", "windows"])
def test_what_can_not_be_folded_again_is_not_merged(operator: Operator) -> None:
    memory = Memory(operator)
    memory.fold("a", {"x": [1]})
    state = memory.state()
    with pytest.raises(OperatorError, match="can't merge partial states"):
        operator.merge(state, state)
    assert state["count"].tolist() == [1]


def test_windows_of_different_lengths_need_a_merge_of_their_own() -> None:
    memory = Memory(Broken(value="x"))
    memory.fold("a", {"x": [1]})
    with pytest.raises(OperatorError, match=r"Broken does not keep the same events .*, so it needs a merge of its own"):
        memory.merge(memory)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("dtype", "the field 'count' was left as float64 (), its layout says int64 ()"),
        ("shape", "the field 'x' was left as float64 (2,), its layout says float64 ()"),
    ],
)
def test_an_operator_has_to_keep_to_its_layout(left: str, said: str) -> None:
    memory = Memory(Broken(value="x", left=left))
    with pytest.raises(OperatorError, match=re.escape(said)):
        memory.fold("a", {"x": [1]})
    assert len(memory) == 0


# Taking back


def test_events_taken_back_leave_the_exact_mean_of_the_others() -> None:
    memory = scores(ann=[0.1, 1e17, 0.2, -3e16])
    memory.retract(["ann", "ann"], {"score": [-3e16, 1e17]})
    assert memory.export() == [{"count": 2, "mean": float((Fraction(0.1) + Fraction(0.2)) / 2)}]


def test_only_keys_that_are_there_can_give_back() -> None:
    memory = scores(ann=[1])
    with pytest.raises(KeyError, match="bob"):
        memory.retract(["ann", "bob"], {"score": [1, 2]})
    assert memory.export() == [{"count": 1, "mean": 1.0}]
    memory.retract([], {"score": []})
    assert memory.keys == ["ann"]


# Bytes

KEYS = ["a", "", "ü\n\ud800", b"\x00\xff", 7, -(2**70), 2.5, None, True, ("a", b"b", (3, None))]


def test_keys_come_back_as_they_were() -> None:
    memory = Memory(Count())
    memory.fold([*KEYS, np.int64(7), np.str_("a")])
    restored = Memory.from_bytes(memory.to_bytes(), Count())
    assert restored.keys == memory.keys
    assert [type(key) for key in restored.keys] == [type(key) for key in KEYS]
    assert restored.read(KEYS).tolist() == memory.read(KEYS).tolist()  # type: ignore[union-attr]
    assert restored.read(["a", 7]).tolist() == [2, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("key", [frozenset({1}), Fraction(1, 3), ("a", frozenset())], ids=str)
def test_a_key_that_has_no_bytes_is_named(key: Any) -> None:
    memory = Memory(Count())
    memory.fold([key])
    with pytest.raises(TypeError, match="expected text, bytes, a number, None, or a tuple of those"):
        memory.to_bytes()


GOLDEN = (
    b'streamfold memory\n\x01\x00\xab\x00\x00\x00\x00\x00\x00\x00{"operator": {"type": "Count"}, '
    b'"vectors": {}, "layout": {"fields": [{"name": "count", "shape": [], "dtype": "<i8", "initial": 0.0}], '
    b'"rings": []}, "keys": ["ann", "bob"]}\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00'
)


def test_the_bytes_are_the_same_in_every_release_and_on_every_machine() -> None:
    memory = Memory(Count())
    memory.fold(["ann", "bob", "ann"])
    assert memory.to_bytes() == GOLDEN
    assert Memory.from_bytes(GOLDEN, Count()).export() == [{"count": 2}, {"count": 1}]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: b"", "found other bytes, expected those of a memory"),
        (lambda raw: b"x" + raw, "found other bytes"),
        (lambda raw: raw[:20], "found other bytes"),
        (lambda raw: raw[:18] + b"\x02" + raw[19:], "found a memory of format 2, expected 1"),
        (lambda raw: raw[:60], "cut off or damaged in its header"),
        (lambda raw: raw[:-1], "found 15 bytes of numbers, expected 16"),
        (lambda raw: raw + b"\x00", "found 17 bytes of numbers, expected 16"),
    ],
)
def test_bytes_that_are_no_memory_are_refused(spoil: Callable[[bytes], bytes], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Memory.from_bytes(spoil(GOLDEN), Count())


def test_bytes_of_another_operator_are_refused() -> None:
    raw = Memory(MovingMean(value="x", window=3)).to_bytes()
    for other in (MovingMean(value="x", window=4), MovingMean(value="y", window=3), Mean(value="x")):
        with pytest.raises(OperatorError, match=r"found a memory of .*, expected"):
            Memory.from_bytes(raw, other)


def test_bytes_of_another_layout_are_refused() -> None:
    raw = GOLDEN.replace(b'"initial": 0.0', b'"initial": 1.0')
    with pytest.raises(OperatorError, match=r"found the layout .*, expected that of this version"):
        Memory.from_bytes(raw, Count())
