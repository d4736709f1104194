"""What of a batch is folded: selected columns, events that are kept, keys of parts, and what is bad about them."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from operators import Count, Mean
from pipeline import App, Stream, Table
from pipeline.core.batch import Events, Reject, WireBatch
from pipeline.core.decode import Decoder
from pipeline.core.partition import Identity, Partition
from pipeline.edges.metrics import Metrics
from tests.core.decoding import wire


def decoded(
    events: list[Any], *, scalars: tuple[str, ...] = (), keys: list[bytes | None] | None = None, **options: Any
) -> tuple[Events, list[Reject]]:
    stream = Stream("s", "topic", **options)
    encode = msgspec.msgpack.encode if stream.format == "msgpack" else msgspec.json.encode
    values: list[bytes | None] = [
        event if event is None or isinstance(event, bytes) else encode(event) for event in events
    ]
    vectors = {name: width for name, width in stream.vectors.items() if name in scalars}
    decoder = Decoder(stream, [name for name in scalars if name not in vectors], vectors, ids=["id"])
    return decoder.decode(wire(values, keys))


def told(rejects: list[Reject]) -> list[tuple[int, str, str]]:
    return [(reject.index, reject.stage, reject.reason) for reject in rejects]


@pytest.mark.parametrize("format_", ["json", "msgpack"])
def test_where_keeps_the_events_for_which_it_is_true(format_: str) -> None:
    events = [
        {"score": 3, "kind": "final", "id": "a"},
        {"score": 0, "kind": "final", "id": "b"},
        {"score": 5, "kind": "heat"},
        {"score": 5},
        {"kind": "final"},
        {"score": None, "kind": None},
        {"score": 1, "kind": "final", "id": 7, "unread": [1]},
    ]
    found, rejects = decoded(
        events,
        format=format_,
        scalars=("score",),
        where="score > 0 and kind == 'final'",
        keys=[b"%d" % n for n in range(7)],
    )
    assert (found.index.tolist(), found.keys, rejects) == ([0, 6], [b"0", b"6"], [])
    assert (found.offsets.tolist(), found.ids) == ([100, 106], {"id": [b"a", b"7"]})
    assert {field: column.tolist() for field, column in found.columns.items()} == {"score": [3.0, 1.0]}


def test_what_where_drops_is_never_bad_but_by_what_was_read() -> None:
    events = [
        {"ok": True, "site": "x", "ts": 1},
        {"ok": False},
        {"ok": False, "site": None, "ts": None},
        {"ok": True, "ts": 5},
        {"ok": True, "site": "y"},
        {"site": "z"},
        {"ok": 1, "site": "z", "ts": 1},
        {"ok": False, "site": True, "ts": 1},
        b"nonsense",
        None,
    ]
    found, rejects = decoded(events, where="ok", key="site", time="ts")
    assert (found.index.tolist(), found.keys, found.times.tolist()) == ([0], [b"x"], [1.0])
    assert [(index, stage, reason.split(": ", 2)[:2]) for index, stage, reason in told(rejects)] == [
        (3, "key", ["missing or null", "site"]),
        (4, "decode", ["missing or null", "ts"]),
        (6, "decode", ["invalid field", "ok"]),
        (7, "key", ["invalid field", "site"]),
        (8, "decode", ["malformed value", rejects[4].reason.split(": ", 2)[1]]),
        (9, "decode", ["null value"]),
    ]


def test_absent_keys_of_records_are_bad_for_kept_events_only() -> None:
    found, rejects = decoded([{"a": 1}, {"a": 2}, {"a": 1}], where="a == 1", keys=[None, None, b"k"])
    assert (found.index.tolist(), told(rejects)) == ([2], [(0, "key", "no key")])


@pytest.mark.parametrize(
    ("value", "reason"),
    [(1, "Expected `str`"), (True, "Expected `str`"), (["a"], "Expected `str`"), ({}, "Expected `str`")],
)
def test_a_field_that_is_compared_with_text_is_text(value: object, reason: str) -> None:
    _, (reject,) = decoded([{"kind": value}], where="kind == 'a'")
    assert reject.stage == "decode"
    assert reject.reason.startswith(f"invalid field: kind: {reason}")


@pytest.mark.parametrize("value", [1, 0, "true", [], {}])
def test_a_field_that_is_a_condition_is_true_or_false(value: object) -> None:
    _, (reject,) = decoded([{"ok": value}], where="ok")
    assert reject.reason.startswith("invalid field: ok: Expected `bool`")


def test_a_field_of_which_is_only_asked_whether_it_is_there_may_be_anything() -> None:
    events = [{"x": "a"}, {"x": [1, {}]}, {"x": None}, {}, {"x": False}, {"x": 0}]
    for format_ in ("json", "msgpack"):
        found, rejects = decoded(events, where="not is_null(x)", format=format_)
        assert (found.index.tolist(), rejects) == ([0, 1, 4, 5], [])


def test_a_field_may_be_asked_for_by_expressions_operators_and_ids_at_once() -> None:
    found, rejects = decoded([{"id": 7}, {"id": "7"}, {"id": "x"}, {}], where="id == '7'")
    assert (found.ids, rejects) == ({"id": [b"7", b"7"]}, [])
    events = [{"score": 7, "id": 1}, {"score": None, "id": 1}, {"score": 5}, {"score": "x", "id": 1}]
    found, rejects = decoded(events, scalars=("score",), where="not is_null(score) and not is_null(id)")
    assert found.columns["score"].tolist() == [7.0]
    assert [(reject.index, reject.stage) for reject in rejects] == [(3, "decode")]


def test_selected_columns_are_read_like_fields() -> None:
    events = [
        {"d": 10, "t": 4},
        {"d": 1},
        {"d": 1, "t": 0},
        {"d": -1, "t": 0},
        {"d": 0, "t": 0},
        {"d": 1e308, "t": 0.1},
    ]
    found, rejects = decoded(events, scalars=("d", "speed"), select={"speed": "d / t", "unread": "d / 0 * t"})
    assert found.index.tolist() == [0, 1, 4]
    assert json.dumps(found.columns["speed"].tolist()) == "[2.5, NaN, NaN]"
    assert found.columns["d"].tolist() == [10.0, 1.0, 0.0]
    assert set(found.columns) == {"d", "speed"}
    assert told(rejects) == [(row, "select", "non-finite number: speed") for row in (2, 3, 5)]


def test_what_is_infinite_is_no_matter_in_an_event_that_where_drops() -> None:
    events = [{"d": 1, "t": 0, "ok": False}, {"d": 1, "t": 0, "ok": True}, {"d": 1, "t": 2, "ok": True}]
    for where in ("ok", "ok and speed > 0"):
        found, rejects = decoded(events, scalars=("speed",), select={"speed": "d / t"}, where=where)
        assert (found.columns["speed"].tolist(), [reject.index for reject in rejects]) == ([0.5], [1])


def test_key_and_time_can_be_read() -> None:
    events = [{"who": "ann", "at": "1970-01-02T03:00:00Z"}, {"who": "bob", "at": 5000}, {"who": 7, "at": 90_000_000}]
    found, rejects = decoded(
        events,
        key="who",
        time="at",
        time_unit="ms",
        scalars=("late",),
        select={"late": "at - 86400"},
        where="who in ['ann', '7'] and hour(at) < 4",
    )
    assert (found.keys, found.times.tolist(), rejects) == ([b"ann", b"7"], [97200.0, 90000.0], [])
    assert found.columns["late"].tolist() == [10800.0, 3600.0]


def test_a_key_of_parts_is_joined() -> None:
    events = [
        {"site": "north", "kind": "temp"},
        {"site": "a/b", "kind": "~"},
        {"site": 12, "kind": ""},
        {"site": "north"},
        {"site": None, "kind": None},
        {"site": 1.5, "kind": "x"},
    ]
    for where in (None, "site != 'nowhere'"):
        found, rejects = decoded(events, key=["site", "kind"], where=where)
        assert found.keys == [b"north/temp", b"a~1b/~0", b"12/"]
        assert found.ids == {"id": [None] * 3}
        assert told(rejects)[:2] == [(3, "key", "missing or null: kind"), (4, "key", "missing or null: site")]
        assert (rejects[2].index, rejects[2].stage) == (5, "key")
    assert decoded([{"site": "a/b"}], key=["site"])[0].keys == [b"a~1b"]
    assert decoded([{"site": "a/b"}], key="site")[0].keys == [b"a/b"]


def test_a_key_may_be_made_of_what_is_selected() -> None:
    events = [
        {"who": "Ann", "n": 20, "at": 0},
        {"who": "BOB", "n": -0.0, "at": 86400},
        {"who": "x", "n": 5, "at": 1},
        {"who": "x", "at": 1},
        {"n": 10, "at": 1},
        {"who": "x", "n": 1e300, "at": 1},
        {"who": "x", "n": 1e309, "at": 1},
    ]
    select = {"name": "lower(who)", "tens": "n / 10", "day": "date(at)"}
    found, rejects = decoded(events[:6], key=["name", "tens", "day"], time="at", select=select)
    assert found.keys == [b"ann/2/1970-01-01", b"bob/0/1970-01-02"]
    assert told(rejects) == [
        (2, "key", "not a whole number: tens"),
        (3, "key", "missing or null: tens"),
        (4, "key", "missing or null: name"),
        (5, "key", "not a whole number: tens"),
    ]
    assert decoded(events[:1], key="tens", select=select)[0].keys == [b"2"]
    assert decoded(events[:1], key="day", select=select, time="at")[0].keys == [b"1970-01-01"]


def test_a_key_that_is_too_long_is_a_bad_event() -> None:
    found, rejects = decoded([{"a": "x" * 3000, "b": "y" * 2000}, {"a": "x", "b": "y"}], key=["a", "b"])
    assert (found.keys, told(rejects)) == ([b"x/y"], [(0, "key", "key too long: more than 4096 bytes")])


def test_raw_numbers_are_chosen_too() -> None:
    rows = [
        np.array(row, "<f8").tobytes() for row in ([7, 0, 2, 1, 1], [8, 5, 2, 1, 1], [7.5, 5, 2, 1, 1], [9, 5, 0, 1, 1])
    ]
    found, rejects = decoded(
        [*rows, b"x"],
        format="float64",
        fields=["id", "t", "b", "v"],
        vectors={"v": 2},
        time="t",
        key=["id_", "day"],
        select={"id_": "id", "day": "date(t)", "r": "t / b"},
        where="t > 1",
        scalars=("r", "b", "v"),
    )
    assert found.keys == [b"8/1970-01-01"]
    assert {field: column.tolist() for field, column in found.columns.items()} == {"r": [2.5], "b": [2], "v": [[1, 1]]}
    assert [(reject.index, reject.stage) for reject in rejects] == [(2, "key"), (3, "select"), (4, "decode")]


def test_flaws_of_what_was_read_stay_with_their_events() -> None:
    bad = b'{"x": 1, "unread": "\xff"}'
    found, rejects = decoded([{"x": 0}, bad, {"x": 1}, {"x": 0}, bad], where="x == 1")
    assert (found.index.tolist(), [reject.index for reject in rejects]) == ([2], [1, 4])
    pack = msgspec.msgpack.encode
    found, rejects = decoded([pack({"x": math.nan}), pack({"x": 1})], where="x == 1", format="msgpack")
    assert (found.index.tolist(), told(rejects)) == ([1], [(0, "decode", "non-finite number: x")])


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "x": st.none() | st.sampled_from([0, 1, -2.5, 1e308]),
        "kind": st.none() | st.sampled_from(["a", "b", ""]),
        "site": st.none() | st.sampled_from(["n", "a/b"]) | st.integers(-1, 1),
        "ok": st.none() | st.booleans(),
    },
)


@given(st.lists(DOCUMENTS, max_size=6), st.sampled_from(["json", "msgpack"]))
def test_every_event_is_kept_or_bad_or_dropped_as_plain_python_says(
    documents: list[dict[str, Any]], format_: str
) -> None:
    found, rejects = decoded(
        documents,
        scalars=("y",),
        format=format_,
        key=["site", "kind"],
        select={"y": "x * 10"},
        where="not ok and (kind != 'b' or x > 0)",
    )
    kept, bad = {}, {}
    for place, document in enumerate(documents):
        x, kind, site = (document.get(name) for name in ("x", "kind", "site"))
        if document.get("ok") or (kind == "b" and not (x is not None and x > 0)):
            continue
        if x == 1e308:
            bad[place] = "select"
        elif site is None or kind is None:
            bad[place] = "key"
        else:
            kept[place] = (f"{str(site).replace('/', '~1')}/{kind}".encode(), math.nan if x is None else x * 10.0)
    assert found.keys == [key for key, _ in kept.values()]
    np.testing.assert_array_equal(found.columns["y"], [y for _, y in kept.values()])
    assert found.index.tolist() == list(kept)
    assert {reject.index: reject.stage for reject in rejects} == bad


def partition(stream: Stream, **options: Any) -> Partition:
    operators = {"readings": Count(), "mean": Mean(value="double")}
    made = Partition(App("app", [Table("t", stream, operators, **options)]), stream, 1, 2)
    made.resume(100, Identity("id", "source", {"t": "log"}, 0, 1_000_000))
    return made


STREAM = Stream(
    "s", "topic", key=["site", "kind"], select={"double": "value * 2"}, where="value >= 0", partitioned_by_key=True
)


@pytest.mark.parametrize("emit", ["every", "commit"])
def test_a_table_of_chosen_events_carries_the_parts_of_its_key(emit: Any) -> None:
    one = partition(STREAM, emit=emit)
    values = [{"site": "north", "kind": "a/~", "value": v} for v in (1, -1, 2)] + [{"site": "south", "kind": "x"}]
    one.fold(wire([json.dumps(value).encode() for value in values]))
    one.fold(WireBatch("topic", 1, 104, 105, [None], [b'{"value": 1e308, "site": "n", "kind": ""}'], [104], [0]))
    cut = one.cut()
    outputs = {append.topic: append.values for append in cut.appends}
    last = outputs["app-t"][-1]
    assert last is not None
    record = json.loads(last)
    assert list(record) == ["key", "time", "partition", "offset", "site", "kind", "readings", "mean"]
    assert (record["key"], record["site"], record["kind"]) == ("north/a~1~0", "north", "a/~")
    assert (record["readings"], record["mean"]) == (2, 3.0)
    assert (cut.counts.filtered, cut.counts.events) == (2, 5)
    assert cut.counts.dead_letters == {("select", "non-finite number"): 1}
    metrics = Metrics()
    metrics.committed("s", TopicPartition("topic", 1), cut, 0.01)
    assert metrics.registry.get_sample_value("streamfold_filtered_total", {"stream": "s"}) == 2
    assert len(outputs["app-t"]) == (2 if emit == "every" else 1)
    row = one.tables["t"].state.find(b"north/a~1~0")
    assert row is not None
    assert one.tables["t"].records(np.array([row])) == [last]


def test_the_joined_key_is_what_is_compared_with_the_records_own() -> None:
    stream = Stream("s", "topic", key=["site", "kind"], where="ok")
    decoder = Decoder(stream, [], {})
    values: list[bytes | None] = [
        json.dumps({"site": "n/", "kind": "t", "ok": ok}).encode() for ok in (True, False, True)
    ]
    for keys, place in (([b"n~1/t", b"other", b"n~1/t"], None), ([b"n~1/t", None, b"n//t"], 2)):
        batch = wire(values, keys)  # type: ignore[arg-type]
        assert decoder.key_evidence(batch, decoder.decode(batch)[0]) == place
