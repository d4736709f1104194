"""Replayed records are folded by whom they are for, and counted where they fail again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from operators import Count, Mean
from pipeline import App, Dedupe, Stream, Table
from pipeline.core.batch import Headers, WireBatch
from pipeline.core.partition import Cut, Identity, Partition
from pipeline.core.replay import Replay
from pipeline.core.table import Append
from pipeline.errors import RunError

STREAM = Stream("scores", topic="scores")
IDENTITY = Identity("streamfold/app/scores/0", "source-id", {"a": "log-a", "b": "log-b"}, 0, 1_000_000)
EVENT = b'{"x": 1}'


def partition(**options: Any) -> Partition:
    """Tables a and b of a stream; only b reads x."""
    tables = [
        Table("a", STREAM, {"games": Count()}, **options),
        Table("b", STREAM, {"games": Count(), "average": Mean(value="x")}, **options),
    ]
    made = Partition(App("app", tables), STREAM, 0, 1)
    made.resume(0, IDENTITY)
    return made


def batch(*records: tuple[bytes | None, Headers]) -> WireBatch:
    count = len(records)
    values = [value for value, _ in records]
    headers = {n: own for n, (_, own) in enumerate(records) if own}
    return WireBatch("scores", 0, 0, count, [b"k"] * count, values, range(count), [0] * count, headers)


def replayed(states: str, count: int = 1, *more: tuple[str, bytes | None]) -> Headers:
    return [*Replay(frozenset(states.split()), count).headers(), *more]


def games(cut: Cut, table: str) -> list[int]:
    return [json.loads(value or b"")["games"] for a in cut.appends if a.topic == f"app-{table}" for value in a.values]


def letters(cut: Cut) -> Append:
    (found,) = [append for append in cut.appends if append.topic == "app-dead-letters"] or [Append("", 0, [], [])]
    return found


@pytest.mark.parametrize(
    ("headers", "a", "b"),
    [
        ([], 1, 1),
        ([("traceparent", b"00-1")], 1, 1),
        (replayed("log-a log-b"), 1, 1),
        (replayed("log-b log-a another"), 1, 1),
        (replayed("log-b"), 0, 1),
        (replayed("another log-a"), 1, 0),
        (replayed("another"), 0, 0),
        (replayed(""), 0, 0),
    ],
)
@pytest.mark.parametrize("value", [EVENT, b"not an event", b"{}", None])
def test_it_is_folded_or_refused_by_whom_it_is_for(headers: Headers, a: int, b: int, value: bytes | None) -> None:
    one = partition()
    one.fold(batch((value, headers)))
    cut = one.cut()
    bad = letters(cut)
    if value == EVENT:
        assert (len(games(cut, "a")), len(games(cut, "b")), bad.values) == (a, b, [])
    elif value == b"{}":
        assert (len(games(cut, "a")), len(games(cut, "b")), len(bad.values)) == (a, 0, b)
    else:
        assert (games(cut, "a"), games(cut, "b")) == ([], [])
        assert bad.values == [value] * max(a, b)
        addressed = [dict(own).get("table") for own in bad.headers]
        assert addressed == [None if a and b else (b"a" if a else b"b")] * max(a, b)


def test_a_null_value_deletes_only_where_it_is_meant_to() -> None:
    one = partition(on_null="delete")
    one.fold(batch((EVENT, []), (None, replayed("log-b")), (EVENT, [])))
    cut = one.cut()
    assert games(cut, "a") == [1, 2]
    b = next(append for append in cut.appends if append.topic == "app-b")
    assert [value and json.loads(value)["games"] for value in b.values] == [1, None, 1]


def test_a_letter_that_fails_again_says_how_often_and_keeps_its_own_headers() -> None:
    one = partition()
    own = ("traceparent", b"00-1"), ("empty", None)
    one.fold(batch((b"bad", list(own)), (b"bad", replayed("log-a log-b", 3, *own))))
    first, again = (dict(headers) for headers in letters(one.cut()).headers)
    assert "replays" not in first
    assert again["replays"] == b"3"
    for letter in (first, again):
        assert (letter["source.traceparent"], letter["source.empty"]) == (b"00-1", None)
        assert not any("streamfold" in name for name in letter)


def test_headers_that_leave_no_room_for_the_event_are_left_out() -> None:
    one = partition()
    one.identity = replace(IDENTITY, dead_letter_limit=2_000)
    one.fold(batch((b"v" * 1_000, [("big", b"h" * 1_000)]), (b"v" * 3_000, [("big", b"h" * 10)])))
    bad = letters(one.cut())
    assert [len(value or b"") == size for value, size in zip(bad.values, (1_000, 3_000), strict=True)] == [True, False]
    assert [dict(headers)["truncated"] for headers in bad.headers] == [b"headers", b"headers, value"]
    assert not any(name.startswith("source.") for headers in bad.headers for name, _ in headers)


def test_it_stops_the_worker_where_the_table_it_is_for_says_so() -> None:
    with pytest.raises(RunError, match="table b says"):
        partition(on_error="stop").fold(batch((b"bad", replayed("log-b"))))
    partition(on_error="stop").fold(batch((b"bad", replayed("another"))))


def test_an_event_that_was_refused_is_no_duplicate_when_it_is_replayed() -> None:
    one = partition(dedupe=Dedupe("id", window=100))
    bad, good = b'{"id": 1}', b'{"id": 1, "x": 2}'
    one.fold(batch((bad, []), (good, replayed("log-b")), (good, replayed("log-b"))))
    cut = one.cut()
    assert (games(cut, "a"), games(cut, "b")) == ([1], [1])
    assert cut.counts.duplicates["b"] == 1


@pytest.mark.parametrize("count", [b"", b"x", b"-1", "٣".encode(), None])
def test_marks_that_others_wrote_are_read_without_trouble(count: bytes | None) -> None:
    assert Replay.of([("streamfold.state", b"\xff,,x"), ("streamfold.replays", count)]) == Replay(
        frozenset({"\ufffd", "x"}), 1
    )
    assert Replay.of([("streamfold.replays", count)]) is None
