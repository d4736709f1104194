"""Operators of a user's own: named in a file, laid out, logged, restored; their mistakes go by the table's policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from operators import Count, recurrent
from operators.columns.grouping import Floats
from operators.columns.history import newest, newest_lists
from operators.operator import Batch, Field, Layout, Operator, Readout, Ring, Shape, State
from pipeline import App, Stream, Table
from pipeline.core.batch import Events, WireBatch
from pipeline.core.changelog import Changelog
from pipeline.core.config.load import loads
from pipeline.core.config.problem import ConfigError
from pipeline.core.partition import Identity, Partition
from pipeline.core.state import TableState
from pipeline.errors import RunError

STREAM = Stream("events", topic="events", vectors={"v": 2})

MODULE = """
from operators import recurrent

@recurrent(state={"level": 0.0, "trend": 0.0}, read=lambda h: h["level"] + h["trend"])
def holt(h, value, *, alpha: float = 0.5, beta: float = 0.5):
    level = alpha * value + (1 - alpha) * (h["level"] + h["trend"])
    return {"level": level, "trend": beta * (level - h["level"]) + (1 - beta) * h["trend"]}

@recurrent(state={"level": 0.0, "trend": 0.0})
def other(h, value, *, alpha: float = 0.5, beta: float = 0.5):
    return h

def plain(h, value):
    return h
"""

FILE = """
[app]
name = "app"
[streams.events]
topic = "events"
[tables.t]
stream = "events"
[tables.t.operators]
own = { type = "own_memories:holt", value = "x", alpha = 0.3 }
"""


@recurrent(state={"sum": "value", "n": 0.0})
def picky(h: Any, value: Floats, *, unlucky: float = 13.0) -> Any:
    """Sums its value, and raises on 13."""
    if (value == unlucky).any():
        raise ArithmeticError("thirteen")
    return {"sum": h["sum"] + value, "n": h["n"] + 1}


@dataclass(frozen=True, kw_only=True)
class Odd(Operator):
    """Does what an operator must not do where its value is 13."""

    value: str
    deed: str

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("sum"),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        bad = bool((batch.columns["value"] == 13).any())
        if bad and self.deed == "writes to an input":
            batch.columns["value"][0] = 7
        if bad and self.deed == "leaves another shape":
            state.fields["sum"] = state["sum"][:, None]
        np.add.at(state["sum"], batch.groups.segment, batch.columns["value"])
        if bad and self.deed == "gives no results":
            return None
        if bad and self.deed == "gives too few results":
            return batch.columns["value"][1:]
        return batch.columns["value"] if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return np.asarray(state["sum"], float)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"sum": float(s)} for s in state["sum"]]


@pytest.fixture
def own_memories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's on the path."""
    (tmp_path / "own_memories.py").write_text(MODULE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def events(keys: str, first: int = 0, **columns: Any) -> Events:
    """Events of these keys, a letter each."""
    n = len(keys)
    places = np.arange(first, first + n)
    return Events(
        np.arange(n),
        [k.encode() for k in keys],
        places,
        places.astype(float),
        {c: np.array(x, float) for c, x in columns.items()},
    )


def partition(**options: Any) -> Partition:
    own = Table("t", stream=STREAM, **({"operators": {"n": Count(), "own": picky(value="x")}} | options))
    made = Partition(App("app", tables=[own]), STREAM, 0, 1)
    made.resume(0, Identity("id", "source", {"t": "changelog"}, 0, 1_000_000))
    return made


def batch(*values: float) -> WireBatch:
    n = len(values)
    return WireBatch("events", 0, 0, n, [b"k"] * n, [json.dumps({"x": x}).encode() for x in values], range(n), [0] * n)


@pytest.mark.usefixtures("own_memories")
def test_a_file_names_it_and_gives_its_inputs_and_options() -> None:
    from own_memories import holt  # type: ignore[import-not-found]

    app = loads(FILE, Path("app.toml"), {})
    assert app.tables["t"].operators["own"] == holt(value="x", alpha=0.3)
    assert app.tables["t"].inputs == {"x": ()}


@pytest.mark.usefixtures("own_memories")
@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        (
            ", alpha = 0.3",
            ", alpa = 0.3",
            'tables.t.operators.own.alpa: found the unknown option "alpa", expected "alpha", "beta", "publish"',
        ),
        (', value = "x"', "", "tables.t.operators.own.value: is missing, holt needs it"),
        ("0.3", '"much"', "tables.t.operators.own.alpha: found 'much', expected a number"),
        ('"x"', "3", "tables.t.operators.own.value: found 3, expected the name of a field"),
        (":holt", ":plain", "expected a dataclass that is an Operator, or a function under @recurrent"),
        (":holt", ":hold", "which can't be imported"),
    ],
)
def test_a_mistake_in_a_file_is_named(was: str, now: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(FILE.replace(was, now), Path("app.toml"), {})
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("own_memories")
def test_state_of_another_function_or_of_other_options_is_not_read_on() -> None:
    def fingerprint(text: str) -> str:
        app = loads(text, Path("app.toml"), {})
        return app.fingerprint(app.tables["t"])

    assert fingerprint(FILE) == fingerprint(FILE.replace(" }", ', publish = "both" }'))
    changed = [FILE, FILE.replace("0.3", "0.4"), FILE.replace(":holt", ":other"), FILE.replace(" }", ", beta = 0.1 }")]
    assert len({fingerprint(text) for text in changed}) == 4


@pytest.mark.parametrize("emit", ["every", "commit"])
@pytest.mark.parametrize("publish", ["readout", "both"])
def test_its_state_is_logged_and_restored_like_any_other(emit: Any, publish: Any) -> None:
    own = Table("t", stream=STREAM, operators={"own": picky(value="v", publish=publish)}, emit=emit)
    original, restored = TableState(own), TableState(own)
    original.fold(events("aba", v=[[1, 2], [3, 4], [5, 6]]))
    reader = Changelog(restored)
    reader.apply(*Changelog(original).changes(original.take_changed()))  # type: ignore[arg-type]
    reader.finish()
    more = events("ab", 3, v=[[7, 8], [9, 10]])
    assert original.fold(more).results.keys() == restored.fold(more).results.keys()
    one, other = (state.latest(state.rows([b"a", b"b"])) for state in (original, restored))
    assert one.keys() == other.keys() == ({"own"} if publish == "readout" else {"own", "own.state"})
    np.testing.assert_equal(one, other)
    assert one["own"]["sum"].tolist() == [[13, 16], [12, 14]]  # type: ignore[call-overload]


@pytest.mark.parametrize("emit", ["every", "commit"])
def test_an_event_at_which_it_raises_is_as_if_it_had_not_come(emit: Any) -> None:
    own = Table("t", stream=STREAM, operators={"n": Count(), "own": picky(value="x")}, emit=emit)
    state = TableState(own)
    folded = state.fold(events("abab" * 20, x=[1, 2, 13, 4] * 20))
    assert len(folded.rejects) == 20
    assert {(reject.stage, reject.reason) for reject in folded.rejects} == {("operator", "ArithmeticError: thirteen")}
    latest = state.latest(state.rows([b"a", b"b"]))
    np.testing.assert_equal(
        latest, {"n": np.array([20, 40]), "own": {"sum": np.array([20.0, 120]), "n": np.array([20.0, 40])}}
    )


@pytest.mark.parametrize("emit", ["every", "commit"])
@pytest.mark.parametrize(
    "deed",
    ["writes to an input", "leaves another shape", "gives no results", "gives too few results"],
)
def test_what_an_operator_must_not_do_is_the_events_fault(deed: str, emit: Any) -> None:
    own = Table(
        "t",
        stream=STREAM,
        operators={"n": Count(), "own": Odd(value="x", deed=deed), "x": picky(value="x", unlucky=0)},
        emit=emit,
    )
    state = TableState(own)
    folded = state.fold(events("aaab", x=[1, 13, 2, 5]))
    refused = emit == "every" or "results" not in deed
    assert [reject.index for reject in folded.rejects] == [1] * refused
    assert all(reject.stage == "operator" for reject in folded.rejects)
    latest = state.latest(state.rows([b"a", b"b"]))
    assert latest["n"].tolist() == [3 - refused, 1]  # type: ignore[union-attr]
    assert latest["x"]["sum"].tolist() == [3 if refused else 16, 5]  # type: ignore[call-overload]


def test_a_read_out_that_raises_is_found_at_the_event_also_where_only_commits_are_published() -> None:
    @recurrent(state=10.0, read=lambda h: 1 / (h - 13), one_by_one=True)
    def fragile(h: float, value: float) -> float:
        return h + value

    own = Table("t", stream=STREAM, operators={"own": fragile(value="x")}, emit="commit", missing="skip")
    state = TableState(own)
    assert [reject.index for reject in state.fold(events("aab", x=[1, 2, 5])).rejects] == [1]
    assert state.latest(state.rows([b"a", b"b"]))["own"].tolist() == [-0.5, 0.5]  # type: ignore[union-attr]


def test_events_that_lack_its_field_show_its_latest_result() -> None:
    own = Table("t", stream=STREAM, operators={"n": Count(), "own": picky(value="x")}, missing="skip")
    folded = TableState(own).fold(events("aab", x=[1, np.nan, np.nan]))
    np.testing.assert_equal(folded.results["own"], {"sum": np.array([1.0, 1, 0]), "n": np.array([1.0, 1, 0])})


def test_its_exception_makes_a_dead_letter() -> None:
    one = partition()
    one.fold(batch(1, 13, 2))
    (letters,) = [append for append in one.cut().appends if append.topic == "app-dead-letters"]
    assert letters.values == [b'{"x": 13}']
    headers = dict(letters.headers[0])
    assert (headers["stage"], headers["reason"], headers["table"]) == (b"operator", b"ArithmeticError: thirteen", b"t")


def test_its_exception_stops_the_worker_where_the_table_says_so() -> None:
    with pytest.raises(RunError, match=r"events-0 at offset 1 \(operator: ArithmeticError: thirteen\)"):
        partition(on_error="stop").fold(batch(1, 13, 2))


def test_code_that_is_not_ours_is_told_apart() -> None:
    assert partition().has_foreign_operators
    assert not partition(operators={"n": Count()}).has_foreign_operators


@dataclass(frozen=True, kw_only=True)
class Arrivals(Operator):
    """When the newest three events were, which takes no option: the time is there for every operator."""

    roles: ClassVar[tuple[str, ...]] = ()

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("count", dtype="<i8"),), (Ring("time", 3),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        before = state["count"].copy()
        state["count"] += batch.groups.count
        return batch.groups.ordinals(before) if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return newest(state.rings["time"], state["count"], 3)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"times": times} for times in newest_lists(state.rings["time"], state["count"])]


def test_a_window_of_times_is_kept_and_restored() -> None:
    own = Table("t", stream=STREAM, operators={"own": Arrivals(publish="state")}, emit="commit")
    original, restored = TableState(own), TableState(own)
    original.fold(events("aabaaba"))
    reader = Changelog(restored)
    reader.apply(*Changelog(original).changes(original.take_changed()))  # type: ignore[arg-type]
    for state in (original, restored):
        latest = state.latest(state.rows([b"a", b"b"]))["own.state"]
        assert latest == [{"times": [3.0, 4.0, 6.0]}, {"times": [2.0, 5.0]}]


@dataclass(frozen=True, kw_only=True)
class Ranked(Operator):
    """Asks for the largest count of all keys, of which there has to be one."""

    value: str

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("n"),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        state["n"] += batch.groups.count
        return None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return np.asarray(state["n"] / state["n"].max())

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"n": n} for n in state["n"].tolist()]


def test_an_operator_is_not_asked_what_the_records_of_no_key_are() -> None:
    table = Table("t", stream=STREAM, emit="commit", operators={"own": Ranked(value="x")})
    part = Partition(App("app", tables=[table]), STREAM, 0, 1).tables["t"]
    assert part.records(np.zeros(0, np.int64)) == []
