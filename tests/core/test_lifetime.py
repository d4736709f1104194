"""Keys that go: by a null value, by age, to make room. Every test compares with a dict that is kept event by event."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import Count, MovingMean, Operator, Sum
from operators.columns.grouping import Floats
from operators.operator import Batch, Field, Layout, Readout, Shape, State
from pipeline import App, Stream, Table
from pipeline.core.batch import WireBatch
from pipeline.core.changelog import META
from pipeline.core.partition import Cut, Identity, Partition
from pipeline.errors import RunError

STREAM = Stream("s", topic="s", time="ts")
IDENTITY = Identity("streamfold/app/s/0", "source", {"t": "log"}, 0, 1_000_000)
REFUSED = 99.0


@dataclass(frozen=True, kw_only=True)
class Picky(Operator):
    """Counts, and raises on ``REFUSED``."""

    value: str

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("seen"),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        if (batch.columns["value"] == REFUSED).any():
            raise ArithmeticError
        state["seen"] += batch.groups.count
        return np.asarray(batch.groups.ordinals(np.zeros(len(batch.groups.start), np.int64)), float) if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        return np.asarray(state["seen"], float)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        return [{"seen": float(seen)} for seen in state["seen"]]


OPERATORS: dict[str, Operator] = {
    "picky": Picky(value="x"),
    "n": Count(),
    "sum": Sum(value="x"),
    "last": MovingMean(value="x", window=200),
}


@dataclass(frozen=True)
class Sent:
    """An event of a key at a time; ``x`` is None for a null value."""

    key: str
    time: float
    x: float | None


@dataclass
class Exact:
    """What becomes of the log, one record after the other."""

    ttl: float | None = None
    max_keys: int | None = None
    seen: dict[str, tuple[float, list[float]]] = field(default_factory=dict)
    """By key, the clock at the last event (as marks have it) and the numbers; in the order of the last events."""
    out: list[tuple[str, int | None, Fraction | None]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    marks: list[tuple[float, int]] = field(default_factory=list)
    before: tuple[float, int] | None = None
    offsets: dict[str, int] = field(default_factory=dict)

    def take(self, offset: int, sent: Sent) -> None:
        if sent.x is None:
            if sent.key in self.seen:
                self.drop(sent.key, "null")
            return
        numbers = self.seen[sent.key][1] if sent.key in self.seen else []
        if sent.x == REFUSED:
            return
        self.pass_time(offset, sent.time)
        numbers = self.seen.pop(sent.key)[1] if sent.key in self.seen else []
        if not numbers and self.max_keys is not None and len(self.seen) >= self.max_keys:
            self.drop(next(iter(self.seen)), "max_keys")
        self.seen[sent.key] = (0.0, [*numbers, sent.x])
        self.offsets[sent.key] = offset
        self.out.append((sent.key, len(numbers) + 1, sum(map(Fraction, [*numbers, sent.x]))))  # type: ignore[arg-type]

    def pass_time(self, offset: int, time: float) -> None:
        """Time passes when two events in a row have reached it; a mark every 32nd of the ttl."""
        if self.ttl is not None and self.before is not None:
            now = min(time, self.before[0])
            if not self.marks or now >= self.marks[-1][0] + self.ttl / 32:
                self.marks.append((now, self.before[1]))
                for key in [key for key in self.seen if self.marked(self.offsets[key]) + self.ttl * 33 / 32 <= now]:
                    self.drop(key, "ttl")
        self.before = (time, offset)

    def marked(self, offset: int) -> float:
        return max((time for time, start in self.marks if start <= offset), default=self.marks[0][0])

    def drop(self, key: str, reason: str) -> None:
        del self.seen[key]
        self.out.append((key, None, None))
        self.reasons.append(reason)


class Log:
    """The topics of one partition: what was committed, and a worker that may be started anew from it."""

    def __init__(self, **options: Any) -> None:
        self.table = Table("t", stream=STREAM, **({"operators": OPERATORS, "on_null": "delete"} | options))
        self.records: dict[bytes, bytes | None] = {}
        self.out: list[tuple[str, Any]] = []
        self.reasons: list[str] = []
        self.refused = 0
        self.position = 0
        self.start()

    def start(self) -> None:
        """A new worker: its state is what the changelog has, compacted."""
        self.partition = Partition(App("app", tables=[self.table]), STREAM, 0, 1)
        changelog = self.partition.tables["t"].changelog
        items = list(self.records.items())
        for at in range(0, len(items), 7):
            part = items[at : at + 7]
            changelog.apply([key for key, _ in part], [value for _, value in part])
        changelog.finish()
        assert changelog.trouble is None
        if changelog.meta is not None:
            assert changelog.meta.keys == self.partition.tables["t"].state.live
        self.partition.resume(self.position, IDENTITY)

    def fold(self, sent: Sequence[Sent], start: int | None = None) -> None:
        first = self.partition.position if start is None else start
        self.partition.fold(
            WireBatch(
                "s",
                0,
                first,
                first + len(sent),
                [event.key.encode() for event in sent],
                [None if e.x is None else json.dumps({"x": e.x, "ts": e.time}).encode() for e in sent],
                range(first, first + len(sent)),
                [0] * len(sent),
            )
        )

    def commit(self) -> Cut:
        cut = self.partition.cut()
        self.position = cut.next_offset
        for append in cut.appends:
            if append.topic == "app-t-changelog":
                for key, value in zip(append.keys, append.values, strict=True):
                    self.records.pop(key or b"", None)  # the last one counts, at its own place
                    self.records[key or b""] = value
            elif append.topic == "app-t":
                records = zip(append.keys, append.values, strict=True)
                self.out += [((key or b"").decode(), value and json.loads(value)) for key, value in records]
            else:
                self.refused += len(append.values)
        self.reasons += [reason for (_, reason), n in cut.counts.dropped.items() for _ in range(n)]
        return cut

    def live(self) -> dict[str, list[object]]:
        """Every key's state, as HTTP would read it."""
        part = self.partition.tables["t"]
        rows = {key: part.state.find(key) for key in part.state.index}
        records = {key.decode(): json.loads(part.record(row)) for key, row in rows.items() if row is not None}
        return {key: [record["n"], record["sum"], record["last"]] for key, record in records.items()}


def expected(exact: Exact) -> dict[str, list[object]]:
    return {
        key: [len(numbers), float(sum(map(Fraction, numbers))), pytest.approx(float(np.mean(numbers)), abs=1e-12)]
        for key, (_, numbers) in exact.seen.items()
    }


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
    told = [{name: value.decode() for name, value in headers} for headers in letters.headers]
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


def test_a_key_dropped_twice_before_a_commit_leaves_no_page_behind() -> None:
    log = Log()
    log.fold(sent(*[("a", 0, float(n)) for n in range(200)]))
    log.commit()
    log.fold(sent(("a", 0, None), ("a", 0, 3), ("a", 0, None)))
    log.fold(sent(("a", 0, 3), ("a", 0, None)))
    log.commit()
    assert [key for key, value in log.records.items() if value is not None] == [META]
