"""What the live page shows of all that is committed: a bounded choice, and nothing that is older."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.core.partition import Cut
from pipeline.core.table import Append, Counts
from pipeline.edges.web.board import FRAME_BYTES, QUIET_SECONDS, RECORD_BYTES, SHOWN, Board

HERE, THERE = TopicPartition("events", 0), TopicPartition("events", 1)


def cut(*records: tuple[str, float | None], topic: str = "out") -> Cut:
    """A commit of these keys and values; None is the null of a key that was dropped."""
    keys: list[bytes | None] = [key.encode() for key, _ in records]
    values: list[bytes | None] = [
        None if x is None else json.dumps({"key": key, "x": x}, separators=(",", ":")).encode() for key, x in records
    ]
    return Cut(0, [Append("out-changelog", 0, [b"other"], [b"{}"]), Append(topic, 0, keys, values)], Counts(), 0)


def news(board: Board, seen: int = 0, asked: frozenset[tuple[str, bytes]] = frozenset()) -> tuple[dict[str, Any], int]:
    told, upto = board.news(seen, asked)
    table: Any = told.get("table", {"keys": None, "records": [], "too_long": {}})
    shown = {record["key"]: record["x"] for record in map(json.loads, map(bytes, table["records"]))}
    return {"keys": table["keys"], "values": shown, "too_long": table["too_long"]}, upto


@pytest.fixture
def board() -> Board:
    return Board({"out": "table"})


def test_the_newest_record_of_each_key_is_told_once(board: Board) -> None:
    board.committed(HERE, cut(("a", 1), ("b", 2), ("a", 3)))
    told, upto = news(board)
    assert sorted(told["keys"]) == ["a", "b"]
    assert told["values"] == {"a": 3, "b": 2}
    assert board.news(upto, frozenset()) == ({}, upto)
    board.committed(HERE, cut(("b", 4)))
    assert news(board, upto)[0]["values"] == {"b": 4}


def test_what_is_no_output_of_a_table_is_not_told(board: Board) -> None:
    board.committed(HERE, cut(("a", 1), topic="dead-letters"))
    assert board.news(0, frozenset()) == ({}, 0)


def test_few_keys_are_shown_unasked_and_the_same_as_long_as_they_move(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first = [(f"first {n}", 1.0) for n in range(SHOWN)]
    board.committed(HERE, cut(*first))
    board.committed(HERE, cut(*((f"later {n}", 1.0) for n in range(10_000))))
    assert sorted(news(board)[0]["keys"]) == sorted(key for key, _ in first)
    now = QUIET_SECONDS + 1
    board.committed(HERE, cut(*first[1:]))
    board.committed(HERE, cut(("another", 1), ("one more", 1)))
    keys = news(board)[0]["keys"]
    assert first[0][0] not in keys
    assert {key for key, _ in first[1:]} < set(keys)
    assert len(keys) == SHOWN


def test_a_key_is_shown_to_those_who_ask_for_it(board: Board) -> None:
    board.committed(HERE, cut(*((f"k{n}", 1.0) for n in range(SHOWN))))
    asked = frozenset({("table", b"rare")})
    board.ask(asked)
    assert board.lacking("table") == [b"rare"]
    board.committed(HERE, cut(("rare", 5)))
    assert news(board, 0, asked)[0]["values"]["rare"] == 5
    assert "rare" not in news(board)[0]["keys"]
    board.unask(asked)
    assert "rare" not in news(board, 0, asked)[0]["keys"]


def test_a_key_that_two_ask_for_stays_until_neither_does(board: Board) -> None:
    board.committed(HERE, cut(*((f"k{n}", 1.0) for n in range(SHOWN))))
    asked = frozenset({("table", b"rare")})
    board.ask(asked)
    board.ask(asked)
    board.unask(asked)
    board.committed(HERE, cut(("rare", 5)))
    assert news(board, 0, asked)[0]["values"]["rare"] == 5


def test_what_was_committed_earlier_never_replaces_what_is_newer(board: Board) -> None:
    asked = frozenset({("table", b"a")})
    board.ask(asked)
    board.committed(HERE, cut(("a", 2)))
    board.answer("table", HERE, [(b"a", b'{"key":"a","x":1}')])
    board.show("table", HERE, [(b"a", b'{"key":"a","x":1}')])
    assert news(board, 0, asked)[0]["values"] == {"a": 2}


def test_what_was_committed_earlier_is_shown_where_nothing_else_is(board: Board) -> None:
    asked = frozenset({("table", b"a")})
    board.ask(asked)
    board.answer("table", HERE, [(b"a", b'{"key":"a","x":1}'), (b"b", b'{"key":"b","x":1}')])
    board.show("table", HERE, [(b"c", b'{"key":"c","x":1}')])
    assert news(board, 0, asked)[0]["values"] == {"a": 1, "c": 1}


def test_a_dropped_key_leaves(board: Board) -> None:
    asked = frozenset({("table", b"a")})
    board.ask(asked)
    board.committed(HERE, cut(("a", 1), ("b", 1)))
    _, upto = news(board, 0, asked)
    board.committed(HERE, cut(("a", None), ("b", None)))
    told, _ = news(board, upto, asked)
    assert (told["keys"], told["values"]) == ([], {})
    assert board.room("table") == SHOWN


def test_keys_of_a_partition_that_is_another_workers_leave(board: Board) -> None:
    board.committed(HERE, cut(("a", 1)))
    board.committed(THERE, cut(("b", 1)))
    _, upto = news(board)
    board.keep({HERE})
    assert news(board, upto)[0]["keys"] == ["a"]


def test_a_long_record_is_told_by_its_length(board: Board) -> None:
    board.committed(HERE, Cut(0, [Append("out", 0, [b"a"], [b"x" * (RECORD_BYTES + 1)])], Counts(), 0))
    assert news(board)[0] == {"keys": ["a"], "values": {}, "too_long": {"a": RECORD_BYTES + 1}}


def test_a_frame_is_bounded_and_the_rest_comes_with_the_next() -> None:
    tables = [f"table {n}" for n in range(2 * FRAME_BYTES // (SHOWN * RECORD_BYTES))]
    board = Board({f"out {name}": name for name in tables})
    for name in tables:
        values: list[bytes | None] = [b"1" * RECORD_BYTES] * SHOWN
        keys: list[bytes | None] = [str(n).encode() for n in range(SHOWN)]
        board.committed(HERE, Cut(0, [Append(f"out {name}", 0, keys, values)], Counts(), 0))
    seen, frames, told = 0, 0, Counter[str]()
    while board.change > seen:
        frame: Any
        frame, seen = board.news(seen, frozenset())
        sizes = [len(bytes(record)) for table in frame.values() for record in table["records"]]
        assert 0 < sum(sizes) <= FRAME_BYTES
        told.update({name: len(table["records"]) for name, table in frame.items()})
        frames += 1
    assert frames == 2
    assert told == dict.fromkeys(tables, SHOWN)
