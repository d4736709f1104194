"""Keys that are looked up together: each is told what it would be told alone, and one that fails takes none with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import cast

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from operators import Count, LinearAttention, Mean, MovingMean
from pipeline import App, Stream, Table
from pipeline.core.batch import WireBatch
from pipeline.core.partition import Partition
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.task import Task
from pipeline.edges.web.answers import Query
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.looks import Ask, Look, Question, entries, look_up, readouts, together
from pipeline.edges.web.reading import Reader

STREAM = Stream("s", topic="s", key="k")
TABLE = Table(
    "t",
    stream=STREAM,
    missing="skip",
    operators={
        "n": Count(),
        "mean": Mean(value="x"),
        "moving": MovingMean(value="x", window=3),
        "memory": LinearAttention(key=["x", "y"], value=["y", "x"]),
    },
)
APP = App("app", tables=[TABLE])
KEYS = [b"a", b"b", b"c"]


@pytest.fixture
def held() -> Partition:
    """Some events of three keys; those of one have no number that is asked for."""
    numbers = np.random.default_rng(3).normal(size=(20, 2)).tolist()
    values: list[bytes | None] = [
        msgspec.json.encode({"k": "abc"[at % 3]} | ({"x": x, "y": y} if at % 3 < 2 else {}))
        for at, (x, y) in enumerate(numbers)
    ]
    held = Partition(APP, STREAM, 0, 1)
    held.fold(WireBatch("s", 0, 0, 20, [b"abc"[at % 3 :][:1] for at in range(20)], values, range(20), [1] * 20, {}))
    return held


def task_of(held: Partition | None, **more: object) -> Task:
    return cast(Task, SimpleNamespace(name="s-0", committed=7, partition=held, **more))


def asked(question: Question, key: bytes, told: dict[bytes, bytes | None]) -> Ask:
    return Ask(question, [key], msgspec.json.encode, partial(told.__setitem__, key))


@pytest.mark.parametrize("operator", [None, "n", "mean", "moving", "memory"])
def test_each_of_several_is_told_what_it_is_told_alone(held: Partition, operator: str | None) -> None:
    task, part, told = task_of(held), held.tables["t"], dict[bytes, bytes | None]()
    keys = [b"c", b"nobody", b"a", b"b"]
    vectors = dict(zip(keys, np.random.default_rng(4).normal(size=(4, 2)).tolist(), strict=True))
    queries = {
        key: None if operator is None else Query(operator, vectors[key] if operator == "memory" else None)
        for key in keys
    }
    look_up(task, [asked(Question.of(TABLE, queries[key]), key, told) for key in keys], held)
    assert list(told) == keys
    assert told.pop(b"nobody") is None
    for key, answer in told.items():
        row, vector = part.state.find(key), np.array([vectors[key]]) if operator == "memory" else None
        look: Look[object] = entries if operator is None else readouts(operator, vector)
        assert answer == msgspec.json.encode(look(task, part, np.array([row]))[0])
    if operator is None:
        entry = msgspec.json.decode(told[b"a"] or b"")
        assert (entry["key"], entry["n"], entry["state"]["n"], entry["committed"]) == ("a", 7, {"count": 7}, 7)
        assert entry["mean"] == entry["state"]["mean"]["mean"]
    if operator in ("mean", "moving"):
        assert told[b"c"] == b'{"value":null}', "what is undefined of one key is so of no other"
        assert b"null" not in (told[b"a"] or b"null")


def test_a_look_that_fails_tells_all_of_them_so(held: Partition) -> None:
    told = dict[bytes, bytes | None]()
    look_up(task_of(held), [asked(Question("t", "none of this name"), key, told) for key in KEYS], held)
    assert told == dict.fromkeys(KEYS)
    told.clear()
    asks = [asked(Question("t"), key, told) for key in KEYS]
    look_up(task_of(held), [*asks[:-1], replace(asks[-1], show=lambda _: bytes(-1))], held)
    assert told == dict.fromkeys(KEYS)
    told.clear()
    look_up(task_of(None), [asked(Question("t"), key, told) for key in KEYS], None)
    assert told == dict.fromkeys(KEYS)


def test_who_can_not_be_told_holds_up_nobody(held: Partition, caplog: pytest.LogCaptureFixture) -> None:
    def gone(_: bytes | None) -> None:
        raise RuntimeError("the handler is closed")

    told = dict[bytes, bytes | None]()
    asks = [asked(Question("t"), key, told) for key in KEYS]
    look_up(task_of(held), [replace(asks[0], tell=gone), *asks[1:]], held)
    assert list(told) == KEYS[1:]
    assert "the handler is closed" in caplog.text


@pytest.mark.parametrize(("query", "status"), [
    (Query("of nobody"), 404), (Query("mean", [1.0]), 422), (Query("memory", [1.0]), 422),
])  # fmt: skip
def test_a_wrong_query_is_refused_before_it_waits(query: Query, status: int) -> None:
    with pytest.raises(HttpError) as refusal:
        Question.of(TABLE, query)
    assert refusal.value.status == status


@pytest.mark.parametrize(("nbytes", "sizes"), [(100 * 64, [16, 16, 8]), (16_000 * 64, [4] * 10), (10**9, [1] * 40)])
def test_no_look_takes_in_more_than_some_bytes(nbytes: int, sizes: list[int]) -> None:
    state = SimpleNamespace(times=np.zeros(64), nbytes=nbytes)
    task = task_of(cast(Partition, SimpleNamespace(tables={"t": SimpleNamespace(state=state)})))
    asks = [asked(Question("t"), b"%d" % number, {}) for number in range(40)]
    parts = list(together(task, asks))
    assert [len(part) for part in parts] == sizes
    assert [ask for part in parts for ask in part] == asks
    assert list(together(task, [])) == []


def test_keys_that_are_not_at_hand_hold_up_nobody(held: Partition) -> None:
    """One that is not here, one whose partition can't even be looked for: each goes the long way, the others don't."""

    def read_soon(look: Callable[[Partition], object]) -> None:
        looks.append(look)
        look(held)

    class Unforeseen(bytes):
        def __hash__(self) -> int:
            raise RuntimeError("unforeseen")

    looks, told = list[object](), dict[bytes, bytes | None]()
    tp = SimpleNamespace(topic="s", partition=0)
    task = SimpleNamespace(
        name="s-0", tp=tp, committed=7, partition=held, assignment=1, quick_to_read=True, read_soon=read_soon
    )
    reader = Reader(cast(Plane, SimpleNamespace(app=APP, tasks={tp.partition: _Hashable(**vars(task))})))
    asks = [asked(Question("t"), key, told) for key in (b"a", b"nobody", b"b")]
    odd = list[bytes | None]()
    asks.insert(1, Ask(Question("t"), [Unforeseen(b"x")], msgspec.json.encode, odd.append))
    asks += [asked(Question("t", "mean"), b"c", told)]
    reader.at_hand(asks)
    assert odd == [None]
    assert {key: answer is None for key, answer in told.items()} == {
        b"nobody": True, b"a": False, b"b": False, b"c": False,
    }  # fmt: skip
    assert len(looks) == 2, "one for the entries, one for the read-out"


class _Hashable(SimpleNamespace):
    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)
