"""From fields to a record: what `send` writes is what the pipeline's own decoder reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline import Stream
from pipeline.core.batch import WireBatch
from pipeline.core.decode import Decoder
from pipeline.core.record import RecordEncoder
from pipeline.core.written import Written
from pipeline.errors import InputError

F64 = Stream("s", "t", format="float64", fields=["x", "k", "y"], vectors={"k": 2})
F32 = replace(F64, format="float32")
EVENT = {"player": "ann", "x": 1, "k": [2.5, 3], "y": -4.25, "note": "ignored"}


def encode(stream: Stream, event: dict[str, Any], key: str | None = None) -> tuple[bytes | None, bytes]:
    return RecordEncoder(stream, key).encode(Written(1, event))


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        (Stream("s", "t", key="player", vectors={"k": 2}), None),
        (Stream("s", "t", format="msgpack", key="player", vectors={"k": 2}), None),
        (F64, "player"),
        (F32, "player"),
    ],
    ids=lambda value: getattr(value, "format", ""),
)
def test_the_decoder_reads_what_was_encoded(stream: Stream, key: str | None) -> None:
    record_key, value = encode(stream, EVENT, key)
    assert record_key == b"ann"
    batch = WireBatch("t", 0, 0, 1, [record_key], [value], [0], [0])
    events, rejects = Decoder(stream, ["x", "y"], {"k": 2}).decode(batch)
    assert rejects == []
    assert events.keys == [b"ann"]
    assert {name: np.asarray(column).tolist() for name, column in events.columns.items()} == {
        "x": [1.0],
        "y": [-4.25],
        "k": [[2.5, 3.0]],
    }


def test_json_goes_out_as_it_was_written() -> None:
    raw = b'{"player": "ann", "score": 1.50}'
    event = Written(1, json.loads(raw), raw)
    assert RecordEncoder(Stream("s", "t", key="player")).encode(event) == (b"ann", raw)


@pytest.mark.parametrize(("key", "expected"), [("Zoë", "Zoë".encode()), (-7, b"-7"), ("", b""), (2**70, b"%d" % 2**70)])
def test_a_key_is_text_or_a_decimal_integer(key: object, expected: bytes) -> None:
    assert encode(Stream("s", "t", key="player"), {"player": key})[0] == expected


@pytest.mark.parametrize("event", [{}, {"player": None}, {"player": True}, {"player": 1.5}, {"player": ["a"]}])
def test_anything_else_is_no_key(event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"player: found .*, expected text or an integer"):
        encode(Stream("s", "t", key="player"), event)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": "1"}, r"Expected `float`, got `str` - at `\$.x`"),
        ({"x": None}, r"got `null` - at `\$.x`"),
        ({"k": [1]}, "length 2"),
        ({"y": 1e300}, "float too large"),
    ],
)
def test_a_row_of_numbers_needs_all_of_them(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode(F32, EVENT | change, "player")


def test_an_integer_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="serialize ints"):
        encode(Stream("s", "t", format="msgpack", key="player"), {"player": "ann", "x": 2**70})
    value = encode(Stream("s", "t", key="player"), {"player": "ann", "x": 2**70})[1]
    assert msgspec.json.decode(value)["x"] == float(2**70)


def test_a_stream_with_the_key_of_the_record_needs_a_field_for_it() -> None:
    with pytest.raises(InputError, match="takes the key of the record") as error:
        RecordEncoder(Stream("s", "t"))
    assert "--key FIELD" in error.value.mend


def test_a_topic_is_partitioned_by_its_streams_key_and_no_other() -> None:
    with pytest.raises(InputError, match='found "game", expected "player"'):
        RecordEncoder(Stream("s", "t", key="player"), "game")


def test_a_key_of_parts_and_one_that_is_selected_are_those_under_which_events_are_folded() -> None:
    event = {"site": "a/b", "n": 12, "at": 86400}
    joined = Stream("s", "t", key=["site", "n"])
    assert encode(joined, event)[0] == b"a~1b/12"
    chosen = Stream("s", "t", key=["site", "day", "ten"], select={"day": "date(at)", "ten": "n // 10"}, where="n > 99")
    assert encode(chosen, event)[0] == b"a~1b/1970-01-02/1"
    single = Stream("s", "t", key="day", time="at", select={"day": "date(at)"})
    assert encode(single, event)[0] == b"1970-01-02"
    raw = Stream("s", "t", format="float64", fields=["n", "x"], key="ten", select={"ten": "floor(n / 10)"})
    assert encode(raw, {"n": 12, "x": 0.5})[0] == b"1"
    for wrong in ({"n": 1}, {"site": None, "n": 1}, {"site": "a", "n": 1.5}):
        with pytest.raises(ValueError, match=r"site|n"):
            encode(joined, wrong)
    with pytest.raises(InputError, match="--key"):
        RecordEncoder(joined, "site")


def test_a_record_that_is_repartitioned_anyway_has_no_key_unless_one_is_named() -> None:
    stream = Stream("s", "t", key=["player", "x"], repartition=True)
    assert encode(stream, EVENT)[0] is None
    assert encode(stream, EVENT, "player")[0] == b"ann"
