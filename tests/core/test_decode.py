"""Decoding: numbers, vectors, keys and times, and every kind of bad event."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np
import pytest

from pipeline.core.batch import Events, Reject
from pipeline.core.decode import Decoder
from tests.core.decoding import reader, wire

NAN = float("nan")


def decode_one(value: bytes | None, decoder: Decoder) -> Events | Reject:
    """The event of a batch of one, or why there is none."""
    events, rejects = decoder.decode(wire([value]))
    assert len(events) + len(rejects) == 1
    return rejects[0] if rejects else events


def good_x(value: bytes) -> float:
    event = decode_one(value, reader())
    assert isinstance(event, Events), event
    return float(event.columns["x"][0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1", 1.0),
        (b"-0.0", -0.0),
        (b"9007199254740993", 9007199254740992.0),
        (b"18446744073709551617", 18446744073709551617.0),
        (b"1" + b"0" * 308, 1e308),
        (b"1.7976931348623158e308", 1.7976931348623157e308),
        (b"2.4703282292062328e-324", 5e-324),
        (b"1e-999", 0.0),
        (b'"x", "x": 2', 2.0),
        (b'2, "x": null', NAN),
        (b"null", NAN),
    ],
)
def test_numbers_become_the_nearest_double(text: bytes, expected: float) -> None:
    got = good_x(b'{"x": ' + text + b"}")
    assert got == expected or (math.isnan(got) and math.isnan(expected))
    assert math.copysign(1, got) == math.copysign(1, expected)


def test_an_absent_field_is_nan_and_an_unknown_one_is_ignored() -> None:
    assert math.isnan(good_x(b'{"y": [1e999, {"z": "\xc3\xa9"}], "y": true}'))
    assert good_x(b' {"\\u0078": 5}\n') == 5.0


BAD_JSON = [
    (None, "null value"),
    (b"", "empty value"),
    (b" ", "malformed value"),
    (b"null", "malformed value"),
    (b"[]", "malformed value"),
    (b"1", "malformed value"),
    (b'{"x": "1"}', "invalid field"),
    (b'{"x": true}', "invalid field"),
    (b'{"x": [1]}', "invalid field"),
    (b'{"x": 1, "x": "1"}', "invalid field"),
    (b'{"x": 1e999}', "invalid field"),
    (b'{"x": ' + b"9" * 400 + b"}", "invalid field"),
    (b'{"x": NaN}', "malformed value"),
    (b'{"x": -Infinity}', "malformed value"),
    (b'{"y": NaN}', "malformed value"),
    (b'{"x": 01}', "malformed value"),
    (b'{"x": 1} {}', "malformed value"),
    (b'{"x": 1', "malformed value"),
    (b'{"x": 1}\x00', "malformed value"),
    (b'{"y": "\xff"}', "malformed value"),
    (b'{"\xff": 1}', "malformed value"),
    (b'{"y": "\xed\xa0\x80"}', "malformed value"),
    (b'{"y": "\\ud800"}', "malformed value"),
    (b'{"y": "a\nb"}', "malformed value"),
    (b'\xef\xbb\xbf{"x": 1}', "malformed value"),
    (b'{"y": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed value"),
]


@pytest.mark.parametrize(("value", "reason"), BAD_JSON)
def test_what_is_not_strict_json_is_a_bad_event(value: bytes | None, reason: str) -> None:
    reject = decode_one(value, reader())
    assert isinstance(reject, Reject)
    assert (reject.stage, reject.reason.split(":")[0], reject.table) == ("decode", reason, None)


def test_the_reason_names_the_field_and_what_was_expected() -> None:
    reject = decode_one(b'{"x": "1"}', reader())
    assert isinstance(reject, Reject)
    assert "x" in reject.reason
    assert "float" in reject.reason
    assert "str" in reject.reason


def test_bad_events_leave_their_neighbours_unharmed() -> None:
    values: list[bytes | None] = []
    for i, (value, _) in enumerate(BAD_JSON):
        values += [value, b'{"x": %d}' % i]
    events, rejects = reader().decode(wire(values))
    assert [reject.index for reject in rejects] == list(range(0, len(values), 2))
    assert events.index.tolist() == list(range(1, len(values), 2))
    assert events.columns["x"].tolist() == list(range(len(BAD_JSON)))
    assert events.offsets.tolist() == list(range(101, 100 + len(values), 2))
    assert events.times.tolist() == [(1_700_000_000_123 + i) / 1000 for i in range(1, len(values), 2)]


def test_values_that_are_valid_only_when_joined_are_bad() -> None:
    _, rejects = reader().decode(wire([b'{"x": 1', b'"y": 2}', b'{"x": 1}, {"x": 2}', b'{"y": "\xc3', b'\xa9"}']))
    assert [reject.index for reject in rejects] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("format_", ["json", "msgpack"])
def test_vectors_have_exactly_their_length(format_: Literal["json", "msgpack"]) -> None:
    encode = msgspec.json.encode if format_ == "json" else msgspec.msgpack.encode
    documents: list[object] = [
        {"v": [1, 2.5]},
        {"v": None},
        {},
        {"v": [1]},
        {"v": [1, 2, 3]},
        {"v": [1, None]},
        {"v": [1, "2"]},
        {"v": 1},
    ]
    decoder = reader((), {"v": 2}, format=format_)
    events, rejects = decoder.decode(wire([encode(document) for document in documents]))
    np.testing.assert_array_equal(events.columns["v"], [[1, 2.5], [NAN, NAN], [NAN, NAN]])
    assert [reject.index for reject in rejects] == [3, 4, 5, 6, 7]


def test_msgpack_tells_nan_from_absent_and_null() -> None:
    documents = [
        {"x": 1, "v": [1, 2]},
        {"x": None},
        {"x": NAN},
        {"x": math.inf},
        {"v": [1, NAN]},
        {"y": NAN},
        {"x": 2**64 - 1},
    ]
    decoder = reader(("x",), {"v": 2}, format="msgpack")
    events, rejects = decoder.decode(wire([msgspec.msgpack.encode(document) for document in documents]))
    assert events.index.tolist() == [0, 1, 5, 6]
    np.testing.assert_array_equal(events.columns["x"], [1, NAN, NAN, 2**64 - 1])
    assert [(reject.index, reject.reason) for reject in rejects] == [
        (2, "non-finite number: x"),
        (3, "non-finite number: x"),
        (4, "non-finite number: v"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        b"\x81\xa1x\xc3",
        b"\x81\xa1x\xa11",
        b"\x80\x80",
        b"\x81\xa1x",
        b"\x91\x01",
        b"\x81\xa1y\xc1",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1y" + b"\x91" * 100_000 + b"\xc0",
    ],
)
def test_bad_msgpack(value: bytes) -> None:
    reject = decode_one(value, reader(format="msgpack"))
    assert isinstance(reject, Reject)
    assert reject.stage == "decode"


def test_of_duplicate_msgpack_fields_the_last_counts() -> None:
    event = decode_one(b"\x82\xa1x\xa11\xa1x\x02", reader(format="msgpack"))
    assert isinstance(event, Events)
    assert event.columns["x"].tolist() == [2.0]


@pytest.mark.parametrize(("format_", "dtype"), [("float64", "<f8"), ("float32", "<f4")])
def test_raw_numbers(format_: str, dtype: str) -> None:
    decoder = reader(("x",), {"v": 2}, format=format_, fields=("t", "v", "unread", "x"), time="t", time_unit="ms")
    rows = np.array(
        [
            [1500, 1, 2, NAN, 3],
            [NAN, 1, 2, 0, 3],
            [0, 1, math.inf, 0, 3],
            [0, 1, 2, 0, -math.inf],
            [2500, 4, 5, 0, 0.1],
        ],
        dtype,
    )
    values: list[bytes | None] = [row.tobytes() for row in rows]
    values[4:4] = [None, b"", b"1234", rows.tobytes()]
    events, rejects = decoder.decode(wire(values))
    assert events.index.tolist() == [0, 8]
    assert events.times.tolist() == [1.5, 2.5]
    assert events.columns["v"].tolist() == [[1, 2], [4, 5]]
    assert events.columns["x"].tolist() == [3, float(rows[4, 4])]
    assert set(events.columns) == {"x", "v"}
    assert [reject.index for reject in rejects] == [1, 2, 3, 4, 5, 6, 7]
    assert [reject.reason.split(":")[0] for reject in rejects] == [
        *["non-finite number"] * 3,
        "null value",
        *["wrong length"] * 3,
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('"player-1"', b"player-1"),
        ('""', b""),
        ('"\\ud83d\\ude00\\u0000"', "😀\0".encode()),
        ("7", b"7"),
        ("-0", b"0"),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
    ],
)
def test_key_fields(text: str, key: bytes) -> None:
    event = decode_one(f'{{"id": {text}, "x": 1}}'.encode(), reader(key="id"))
    assert isinstance(event, Events)
    assert event.keys == [key]


@pytest.mark.parametrize("text", ["1.0", "1e2", "true", "null", "[]", "{}", '"' + "é" * 9 + '"', "1" * 17, "1" * 5000])
def test_bad_key_fields(text: str) -> None:
    reject = decode_one(f'{{"id": {text}, "x": 1}}'.encode(), reader(key="id", limit=16))
    assert isinstance(reject, Reject)
    assert reject.stage == "key"


def test_an_absent_key_field_is_a_bad_event() -> None:
    reject = decode_one(b'{"x": 1}', reader(key="id"))
    assert reject == Reject(0, "key", "missing or null: id")


def test_a_key_that_operators_read_is_an_integer() -> None:
    decoder = reader(("id",), key="id")
    events, rejects = decoder.decode(
        wire([b'{"id": 5}', b'{"id": "5"}', b'{"id": 5.0}', b'{"id": 9223372036854775808}'])
    )
    assert events.keys == [b"5"]
    assert events.columns["id"].tolist() == [5.0]
    assert [(reject.index, reject.stage) for reject in rejects] == [(1, "key"), (2, "key"), (3, "key")]


def test_record_keys() -> None:
    decoder = reader(limit=3)
    events, rejects = decoder.decode(
        wire([b"{}", b"{}", b"{}", b"{}", b"nonsense"], [b"abc", None, b"", b"abcd", None])
    )
    assert events.keys == [b"abc", b""]
    assert [(reject.index, reject.stage, reject.reason.split(":")[0]) for reject in rejects] == [
        (1, "key", "no key"),
        (3, "key", "key too long"),
        (4, "decode", "malformed value"),
    ]


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("1700000000.125", "s", 1700000000.125),
        ("1700000000125", "ms", 1700000000.125),
        ("1700000000125000", "us", 1700000000.125),
        ("1700000000125000000", "ns", 1700000000.125),
        ("-1.5", "s", -1.5),
        ('"2023-11-14T22:13:20.125Z"', "ns", 1700000000.125),
        ('"2023-11-15T03:43:20.125+05:30"', "ms", 1700000000.125),
        ('"0001-01-01T00:00:00+23:59"', "s", -62135683140.0),
    ],
)
def test_times(text: str, unit: str, seconds: float) -> None:
    values: list[bytes | None] = [f'{{"t": {t}}}'.encode() for t in (text, "0", text)]
    events, _ = reader((), time="t", time_unit=unit).decode(wire(values))
    assert events.times.tolist() == [seconds, 0.0, seconds]


@pytest.mark.parametrize(
    "text", ["null", "true", '"x"', '"12"', '"2023-11-14"', '"2023-11-14T22:13:20"', "1e999", "[]"]
)
def test_bad_times(text: str) -> None:
    reject = decode_one(f'{{"t": {text}}}'.encode(), reader((), time="t"))
    assert isinstance(reject, Reject)
    assert reject.stage == "decode"


def test_a_time_that_operators_read_is_a_number() -> None:
    decoder = reader(("t",), time="t", time_unit="ms")
    events, rejects = decoder.decode(wire([b'{"t": 1500}', b'{"t": "2023-11-14T22:13:20Z"}', b"{}"]))
    assert (events.times.tolist(), events.columns["t"].tolist()) == ([1.5], [1500.0])
    assert [reject.index for reject in rejects] == [1, 2]


def test_msgpack_times_are_finite() -> None:
    encode = msgspec.msgpack.encode
    _, rejects = reader((), time="t", format="msgpack").decode(wire([encode({"t": NAN}), encode({"t": 1})]))
    assert rejects == [Reject(0, "decode", "non-finite number: t")]


def test_a_field_may_have_any_name() -> None:
    decoder = reader(("a b.c", "класс", "class", ""))
    events, _ = decoder.decode(wire(['{"a b.c": 1, "класс": 2, "class": 3, "": 4}'.encode()]))
    assert {name: column.tolist() for name, column in events.columns.items()} == {
        "a b.c": [1],
        "класс": [2],
        "class": [3],
        "": [4],
    }


@pytest.mark.parametrize("format_", ["json", "msgpack", "float64"])
def test_an_empty_batch(format_: str) -> None:
    fields = ("x", "v") if format_ == "float64" else ()
    events, rejects = reader(("x",), {"v": 2}, format=format_, fields=fields).decode(wire([]))
    assert (len(events), rejects, events.columns["x"].shape, events.columns["v"].shape) == (0, [], (0,), (0, 2))


def test_a_stream_whose_fields_nobody_reads() -> None:
    events, rejects = reader(()).decode(wire([b'{"x": "any"}', b"["]))
    assert (events.keys, len(rejects)) == ([b"k"], 1)


def test_evidence_of_another_partitioning() -> None:
    values: list[bytes | None] = [b'{"id": "a"}', b"bad", b'{"id": 7}', b'{"id": "b"}']
    decoder = reader((), key="id")

    def evidence(decoder: Decoder, keys: list[bytes | None]) -> int | None:
        batch = wire(values, keys)
        return decoder.key_evidence(batch, decoder.decode(batch)[0])

    assert evidence(decoder, [b"a", None, b"7", b"b"]) is None
    assert evidence(decoder, [b"a", None, b"7", None]) == 3
    assert evidence(decoder, [b"a", None, b"8", b"b"]) == 2
    assert evidence(reader((), key="id", partitioned_by_key=True), [None] * 4) is None
    assert evidence(reader(()), [b"z"] * 4) is None
