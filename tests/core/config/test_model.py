"""The objects: what they check, derive and hide."""

from __future__ import annotations

import dataclasses

import pytest

from operators import Count, KvMean, Mean, MovingMean, Operator
from pipeline import App, Stream, Table
from pipeline.core.config import ConfigError, Dedupe, KafkaSecurity

CHOSEN = Stream(
    "readings",
    "readings",
    key=["site", "day"],
    time="at",
    select={"speed": "distance / seconds", "day": "date(at)", "word": "lower(kind)", "unread": "1"},
    where="ok and speed > 0",
)
STREAM = Stream("scores", "game-scores", key="player", vectors={"k": 3})


def table(name: str = "player", stream: Stream = STREAM, **operators: Operator) -> Table:
    return Table(name, stream, operators or {"games": Count()})


def test_the_defaults_are_those_of_the_reference() -> None:
    app = App("arcade", [table()])
    held = (app.brokers, app.commit_interval, app.http, app.replication, app.kafka)
    assert held == ("localhost:9092", 0.1, "127.0.0.1:6066", 1, None)
    assert (app.session_timeout, app.start_timeout, app.broker_timeout) == (10.0, 30.0, 120.0)
    stream = Stream("s", "t")
    assert (stream.format, stream.key, stream.time, stream.time_unit) == ("json", None, None, "s")
    assert (stream.vectors, stream.fields, stream.start, stream.partitions) == ({}, (), "earliest", 4)
    assert stream.partitioned_by_key is False
    player = app.tables["player"]
    assert (player.emit, player.output, player.missing) == ("every", None, "dead-letter")
    assert (player.on_error, player.on_null, player.metrics_keys) == ("dead-letter", "dead-letter", ())


def test_names_of_topics() -> None:
    app = App("arcade", [table("a"), Table("b", STREAM, {"n": Count()}, output="elsewhere")])
    assert [app.output(one) for one in app.tables.values()] == ["arcade-a", "elsewhere"]
    assert [app.changelog(one) for one in app.tables.values()] == ["arcade-a-changelog", "arcade-b-changelog"]
    assert (app.group, app.dead_letters) == ("arcade", "arcade-dead-letters")


def test_streams_are_those_declared_and_those_that_tables_read() -> None:
    unread = Stream("unread", "u")
    app = App("arcade", [table()], streams=[unread])
    assert app.streams == {"unread": unread, "scores": STREAM}
    assert app.tables_of(STREAM) == (app.tables["player"],)
    assert app.tables_of(unread) == ()
    assert app.fields_read(unread) == {}


def test_inputs_and_shapes() -> None:
    one = table(games=Count(), a=Mean(value="x"), b=Mean(value="k"), c=KvMean(key=["x", "y"], value="k"))
    assert one.inputs == {"x": (), "k": (3,), "y": ()}
    assert one.fields_of == {"games": (), "a": ("x",), "b": ("k",), "c": ("x", "y", "k")}
    assert one.shapes("games") == {}
    assert one.shapes("a") == {"value": ()}
    assert one.shapes("b") == {"value": (3,)}
    assert one.shapes("c") == {"key": (2,), "value": (3,)}
    assert App("x", [one, table("t", z=Mean(value="z"))]).fields_read(STREAM) == {"x": (), "k": (3,), "y": (), "z": ()}


def test_durations_are_text_or_seconds_and_an_app_can_be_changed() -> None:
    app = App("arcade", [table()], commit_interval="250ms", start_timeout=5)
    assert (app.commit_interval, app.start_timeout) == (0.25, 5.0)
    other = dataclasses.replace(app, http="127.0.0.1:7000")
    assert (other.http, other.commit_interval, other.tables) == ("127.0.0.1:7000", 0.25, app.tables)


def test_an_object_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STREAM.topic = "other"  # type: ignore[misc]


def test_two_objects_share_no_default() -> None:
    first, second = Stream("a", "a"), Stream("b", "b")
    assert first.vectors is not second.vectors


def test_what_python_gives_is_checked_as_well() -> None:
    for wrong, message in (
        (lambda: Stream("a b", "t"), 'name: found "a b"'),
        (lambda: Stream("a"), "topic: is missing"),
        (lambda: Stream("a", "t", format="jsn"), 'format: found "jsn"'),  # type: ignore[arg-type]
        (lambda: Table("t", "scores", {"n": Count()}), "stream: found .*Stream"),  # type: ignore[arg-type]
        (lambda: Table("t", STREAM, {}), "operators: .*at least one"),
        (lambda: Table("t", STREAM, {"n": Count}), "operators: "),  # type: ignore[dict-item]
        (lambda: Table("t", STREAM, {"n": Mean(value="player")}), r"operators\.n\.value: .*as its key"),
        (lambda: Stream("s", "t", key=[]), r"key: found \[\]"),
        (lambda: Stream("s", "t", where="a >"), "where: column 4: found the end, expected more"),
        (lambda: Table("t", CHOSEN, {"n": Mean(value="day")}), "n.value: .* has it as its key"),
        (lambda: Table("t", CHOSEN, {"n": Mean(value="word")}), "n.value: .* a number: .* has it as text"),
        (lambda: Table("t", CHOSEN, {"n": Mean(value="kind")}), "n.value: .* a number: .* has it as text"),
        (lambda: Table("t", CHOSEN, {"n": Mean(value="ok")}), "n.value: .* a number: .* has it as true or false"),
        (lambda: Table("t", CHOSEN, {"day": Count()}), '"day" is a part of the key'),
        (lambda: Table("t", CHOSEN, {"n": Count()}, dedupe=Dedupe("speed", 9)), "dedupe.field: .* selects it"),
        (lambda: Table("t", CHOSEN, {"n": Count()}, dedupe=Dedupe("site", 9)), "dedupe.field: .* has it as its key"),
        (lambda: Table("t", CHOSEN, {"n": Count()}, dedupe=Dedupe("ok", 9)), "dedupe.field: .* as true or false"),
        (lambda: App("a", [table(), table()]), "tables: .*different names"),
        (lambda: App("a", [table()], commit_interval=-1), "commit_interval: found -1"),
        (lambda: App("a", [table()], commit_interval=float("nan")), "commit_interval: "),
        (lambda: App("a", [table(), table("b", Stream("scores", "x"))]), "another stream of the name"),
        (lambda: KafkaSecurity("SSL", ssl_keyfile="k"), "ssl_certfile: is missing"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()


def test_a_fingerprint_changes_with_the_meaning_of_the_state_only() -> None:
    def fingerprint(one: Table) -> str:
        return App("arcade", [one]).fingerprint(one)

    first = Table("t", STREAM, {"m": Mean(value="x"), "w": MovingMean(value="x", window=8)})
    same = [
        dataclasses.replace(first, emit="commit", output="o", missing="skip", metrics_keys=["a"]),
        dataclasses.replace(first, operators={**first.operators, "m": Mean(value="x", publish="both")}),
        dataclasses.replace(first, stream=dataclasses.replace(STREAM, format="msgpack", topic="other")),
        dataclasses.replace(first, stream=dataclasses.replace(STREAM, vectors={"k": 4})),
        dataclasses.replace(first, name="other"),
    ]
    different = [
        dataclasses.replace(first, operators={"m": Mean(value="x")}),
        dataclasses.replace(first, operators={"n": Mean(value="x"), "w": first.operators["w"]}),
        dataclasses.replace(first, operators={**first.operators, "m": Mean(value="y")}),
        dataclasses.replace(first, operators={**first.operators, "m": Mean(value="k")}),
        dataclasses.replace(first, operators={**first.operators, "w": MovingMean(value="x", window=9)}),
        dataclasses.replace(first, operators=dict(reversed(list(first.operators.items())))),
        dataclasses.replace(first, stream=dataclasses.replace(STREAM, key=None)),
        dataclasses.replace(first, stream=dataclasses.replace(STREAM, vectors={"k": 3, "x": 2})),
        dataclasses.replace(first, stream=dataclasses.replace(STREAM, time="ts")),
    ]
    assert {fingerprint(one) for one in [first, *same]} == {fingerprint(first)}
    assert len({fingerprint(one) for one in [first, *different]}) == 1 + len(different)
    assert len(fingerprint(first)) == 16


def test_a_fingerprint_changes_with_what_is_chosen_as_far_as_the_table_reads_it() -> None:
    def fingerprint(stream: Stream, **operators: Operator) -> str:
        one = Table("t", stream, operators or {"n": Count()})
        return App("a", [one]).fingerprint(one)

    def selecting(**changed: str) -> Stream:
        return dataclasses.replace(CHOSEN, select={**CHOSEN.select, **changed})

    first = fingerprint(CHOSEN)
    same = [
        selecting(unread="2"),
        selecting(word="upper(kind)"),
        selecting(speed=" distance/seconds "),
        selecting(other="distance"),
        dataclasses.replace(CHOSEN, where="ok  and speed>0"),
    ]
    different = [
        selecting(speed="distance / seconds * 2"),
        selecting(day="date(at + 3600)"),
        dataclasses.replace(CHOSEN, where="ok and speed > 1"),
        dataclasses.replace(CHOSEN, where=None),
        dataclasses.replace(CHOSEN, key=["day", "site"]),
        dataclasses.replace(CHOSEN, key="site"),
        dataclasses.replace(CHOSEN, key=["site"]),
    ]
    assert {fingerprint(stream) for stream in same} == {first}
    assert len({first, *map(fingerprint, different)}) == 1 + len(different)
    word = Mean(value="unread")
    assert fingerprint(CHOSEN, n=word) != fingerprint(selecting(unread="2"), n=word)
    unread = Stream("s", "t", select={"unread": "a + b"})
    assert fingerprint(unread) == fingerprint(Stream("s", "t"))


def test_the_fields_of_a_key() -> None:
    for key, fields, parts in (
        (None, (), ()),
        ("a", ("a",), ()),
        (["a"], ("a",), ("a",)),
        (["a", "b"], ("a", "b"), ("a", "b")),
    ):
        stream = Stream("s", "t", key=key)
        assert (stream.key_fields, stream.key_parts) == (fields, parts)
    assert Stream("s", "t", key="a").key_told == "the field 'a'"
    assert Stream("s", "t", key=["a", "b"]).key_told == "the fields 'a', 'b' joined by '/'"


def test_what_a_stream_chooses_by() -> None:
    kinds = {name: kind.name for name, kind in CHOSEN.choice.kinds.items()}
    assert kinds == {
        **{"site": "TEXT", "at": "NUMBER", "distance": "NUMBER", "seconds": "NUMBER", "kind": "TEXT", "ok": "BOOLEAN"},
        **{"speed": "NUMBER", "day": "TEXT", "word": "TEXT", "unread": "NUMBER"},
    }
    assert not Stream("s", "t").choice


def test_a_fingerprint_is_the_same_in_every_release_and_process() -> None:
    one = Table("t", STREAM, {"n": Count(), "m": Mean(value="x")})
    assert App("a", [one]).fingerprint(one) == "702db964b204c412"
