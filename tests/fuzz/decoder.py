"""Decoding against plain Python, record by record: nothing is accepted that it refuses, nothing is read otherwise.

A batch is decoded as one and one by one: a bad record never changes what becomes of the others. Each that is refused
is kept whole in a dead letter.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.core.batch import Events, Reject, WireBatch
from pipeline.core.config.model import Stream
from pipeline.core.dead_letter import dead_letter
from pipeline.core.decode import Decoder
from tests.core.decoding import wire
from tests.fuzz.plain import Extension, Pairs, Unreadable, instants, read_json, read_msgpack, stamps
from tests.fuzz.records import BESIDES, BETWEEN, Record, data_of, parsed

NAN = math.nan
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
LONGEST_KEY = 64
ROOM = 1 << 20


class Plain(NamedTuple):
    """An event as plain Python reads it; each time is one of several that rounding allows."""

    key: bytes
    times: set[float]
    columns: Mapping[str, float | list[float]]
    ids: Mapping[str, bytes | None]


class Refused(Exception):
    """A bad event."""


class LeftOut(Exception):
    """An event that is not chosen."""


class Unsure(Exception):
    """Either is right, by how deep the reader goes."""


@dataclass(frozen=True)
class Setup:
    """A stream and what its tables read of it; ``where`` says of an event what the stream's says.

    That asks for ``ok``, true or false, and for ``note``, which is text.
    """

    stream: Stream
    scalars: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    where: Callable[[Mapping[str, Any]], bool] | None = None
    decoder: Decoder = field(init=False)

    def __post_init__(self) -> None:
        decoder = Decoder(self.stream, self.scalars, self._vectors, ids=self.ids, max_key_bytes=LONGEST_KEY)
        object.__setattr__(self, "decoder", decoder)

    @property
    def _vectors(self) -> Mapping[str, int]:
        return {name: width for name, width in self.stream.vectors.items() if name != "unread"}

    def plain(self, record: Record, timestamp: int) -> Plain:
        """What a record comes to. Raises Refused, LeftOut or Unsure."""
        key, value = record
        if not value:
            raise Refused("no value")
        found = self._row(value) if self.stream.binary else self._document(value)
        stream = self.stream
        names = [_name(found.get(field), bounded=field in self.scalars) for field in stream.key_fields]
        absent = None in names or (stream.time is not None and found.get(stream.time) is None)
        times = {timestamp / 1e3} if stream.time is None or absent else self._times(found.get(stream.time))
        columns: dict[str, float | list[float]] = {field: _number(found.get(field)) for field in self.scalars}
        for vector, width in self._vectors.items():
            columns[vector] = _vector(found.get(vector), width)
        ids = {field: _name(found.get(field), bounded=field in self.scalars) for field in self.ids}
        if self.where is not None:
            self._choose(found)
        if absent:
            raise Refused("no key or time")
        joined = [(name or b"").replace(b"~", b"~0").replace(b"/", b"~1") for name in names]
        name = _key(b"/".join(joined) if stream.key_parts else [*names, key][0])
        return Plain(name, times, columns, ids)

    def _choose(self, found: Mapping[str, Any]) -> None:
        assert self.where is not None
        if not isinstance(found.get("ok"), bool | None) or not isinstance(found.get("note"), str | None):
            raise Refused("another type")
        if self.stream.time is not None and found.get(self.stream.time) is not None:
            self._times(found[self.stream.time])
        if not self.where(found):
            raise LeftOut

    def _row(self, value: bytes) -> Mapping[str, Any]:
        widths = {name: self.stream.vectors.get(name) for name in self.stream.fields}
        count = sum(width or 1 for width in widths.values())
        layout = struct.Struct(f"<{count}{'d' if self.stream.format == 'float64' else 'f'}")
        if len(value) != layout.size:
            raise Refused("length")
        numbers = iter(layout.unpack(value))
        return {
            name: next(numbers) if width is None else [next(numbers) for _ in range(width)]
            for name, width in widths.items()
        }

    def _document(self, value: bytes) -> Mapping[str, Any]:
        try:
            document = read_json(value) if self.stream.format == "json" else read_msgpack(value)
        except Unreadable as error:
            raise Refused(str(error)) from None
        except RecursionError:
            raise Unsure from None
        if isinstance(document, Pairs):
            if not all(isinstance(name, str | bytes) for name, _ in document):
                raise Refused("a field's name is no text")
            if any(isinstance(name, bytes) for name, _ in document):
                raise Unsure
            return dict(document)
        if not isinstance(document, dict):
            raise Refused("no object")
        return document

    def _times(self, found: object) -> set[float]:
        if isinstance(found, str | Extension) and self.stream.time not in self.scalars:
            times = instants(found) if isinstance(found, str) else stamps(found)
            if not times:
                raise Refused("no time")
            return times
        number = _number(found) / UNITS[self.stream.time_unit]
        if math.isnan(number):
            raise Refused("no time")
        return {number}


def _key(key: bytes | None) -> bytes:
    if key is None or len(key) > LONGEST_KEY:
        raise Refused("key")
    return key


def _name(found: object, *, bounded: bool) -> bytes | None:
    if found is None:
        return None
    if isinstance(found, str) and not bounded:
        return found.encode()
    if isinstance(found, int) and not isinstance(found, bool) and (not bounded or -(2**63) <= found < 2**63):
        return str(found).encode()
    raise Refused("no name")


def _number(found: object) -> float:
    if found is None:
        return NAN
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Refused("no number")
    try:
        number = float(found)
    except OverflowError:
        raise Refused("overflow") from None
    if not math.isfinite(number):
        raise Refused("not finite")
    return number


def _vector(found: object, width: int) -> list[float]:
    if found is None:
        return [NAN] * width
    if not isinstance(found, list) or isinstance(found, Pairs) or len(found) != width or None in found:
        raise Refused("no vector")
    return [_number(number) for number in found]


_DOCUMENTS: tuple[Literal["json", "msgpack"], ...] = ("json", "msgpack")

SETUPS = (
    Setup(Stream(name="s", topic="t"), ("x", "y")),
    Setup(Stream(name="s", topic="t", key="k", time="t", vectors={"v": 2, "unread": 3}), ("x",), ("id",)),
    Setup(Stream(name="s", topic="t", key="k", time="t", time_unit="ms"), ("k", "t"), ("k", "id")),
    Setup(Stream(name="s", topic="t", format="msgpack"), ("x", "y")),
    Setup(Stream(name="s", topic="t", format="msgpack", key="k", time="t", vectors={"v": 2}), ("x",), ("id",)),
    Setup(
        Stream(name="s", topic="t", format="msgpack", key="k", time="t", time_unit="ns"), ("x", "k", "t"), ("k", "x")
    ),
    Setup(
        Stream(name="s", topic="t", format="float64", fields=("t", "v", "u", "x"), time="t", vectors={"v": 2}), ("x",)
    ),
    *(
        Setup(
            Stream(name="s", topic="t", format=form, key=["k", "id"], time="t", where="ok or note != 'b'"),
            ("x",),
            ("id",),
            lambda event: event.get("ok") is True or event.get("note") != "b",
        )
        for form in _DOCUMENTS
    ),
    Setup(Stream(name="s", topic="t", format="float32", fields=("x", "u"), time="x", time_unit="us"), ("x",)),
    Setup(Stream(name="s", topic="t", format="float32", fields=("u", "x", "unread"), vectors={"unread": 1}), ("x",)),
)


def check(setup: Setup, records: Sequence[Record]) -> None:
    """Raises AssertionError where decoding differs from what plain Python says of these records."""
    batch = wire([value for _, value in records], [key for key, _ in records])
    events, rejects = setup.decoder.decode(batch)
    accepted, refused = events.index.tolist(), [reject.index for reject in rejects]
    left_out = sorted({*range(len(records))} - {*accepted, *refused})
    assert sorted([*accepted, *refused, *left_out]) == list(range(len(records))), "an event or a reject for each"
    assert (accepted, refused) == (sorted(accepted), sorted(refused)), "in order"
    for row, place in enumerate(accepted):
        alone, refusals = setup.decoder.decode(_one(batch, place))
        assert not refusals, f"alone it is refused: {refusals}"
        _check_same(events, row, alone)
        expected = _plain(setup, records[place], batch.timestamps[place])
        assert not isinstance(expected, Exception), f"accepted, though bad: {expected!r}"
        if expected is not None:
            _check_event(events, row, expected, batch.offsets[place])
    for reject in rejects:
        alone, refusals = setup.decoder.decode(_one(batch, reject.index))
        assert [replace(refusal, index=reject.index) for refusal in refusals] == [reject], "alone it is another reject"
        expected = _plain(setup, records[reject.index], batch.timestamps[reject.index])
        assert not isinstance(expected, Plain | LeftOut), f"refused, though good: {reject}"
        _check_letter(reject, batch)
    for place in left_out:
        alone, refusals = setup.decoder.decode(_one(batch, place))
        assert (len(alone), refusals) == (0, []), "alone it is not left out"
        expected = _plain(setup, records[place], batch.timestamps[place])
        assert not isinstance(expected, Plain | Refused), f"left out, though it is not: {expected!r}"


def _plain(setup: Setup, record: Record, timestamp: int) -> Plain | Refused | LeftOut | None:
    """None where either is right."""
    try:
        return setup.plain(record, timestamp)
    except (Refused, LeftOut) as verdict:
        return verdict
    except Unsure:
        return None


def _one(batch: WireBatch, place: int) -> WireBatch:
    """A batch of one of a batch's records."""
    here = slice(place, place + 1)
    return replace(
        batch,
        keys=batch.keys[here],
        values=batch.values[here],
        offsets=batch.offsets[here],
        timestamps=batch.timestamps[here],
    )


def _check_event(events: Events, row: int, expected: Plain, offset: int) -> None:
    assert events.keys[row] == expected.key
    assert events.offsets[row] == offset
    assert events.times[row] in expected.times, (events.times[row], expected.times)
    assert events.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert events.columns[name][row].tobytes() == _bits(column), (name, events.columns[name][row], column)
    assert {name: ids[row] for name, ids in events.ids.items()} == expected.ids


def _bits(column: float | list[float]) -> bytes:
    """All NaNs alike, as the decoder has them."""
    return np.array(column, np.float64).tobytes()


def _check_same(events: Events, row: int, alone: Events) -> None:
    """What became of a record among others is what becomes of it alone."""
    assert (alone.keys, alone.offsets[0], alone.times[0]) == (
        [events.keys[row]],
        events.offsets[row],
        events.times[row],
    )
    for name, column in events.columns.items():
        assert alone.columns[name].tobytes() == column[row].tobytes()
    assert alone.ids == {name: [ids[row]] for name, ids in events.ids.items()}


def _check_letter(reject: Reject, batch: WireBatch) -> None:
    letter = dead_letter(reject, batch, "s", limit=ROOM, states={"table": "state"})
    assert (letter.key, letter.value) == (batch.keys[reject.index], batch.values[reject.index]), "raw bytes"
    assert dict(letter.headers)["reason"]


def run(data: bytes) -> None:
    """Check what an input of a fuzzer stands for."""
    number, records = parsed(data)
    check(SETUPS[number % len(SETUPS)], records)


_JSON = (
    b'{"k": "player", "t": 1.5e3, "x": -0.5, "y": 12, "v": [1, 2.5], "id": 7}',
    b'{"k": -12, "t": "2020-01-01T00:00:00.123456+01:00", "x": null, "v": null, "id": "a\\u00e9", "u": [{"x": true}]}',
    b'{"k": "a/b", "t": 1, "id": "~", "ok": false, "note": "b", "x": 1}',
    b'{"k": "\xc3\xa9", "t": 1e3, "unread": [1, 2, 3], "x": 9007199254740993, "x": 1}',
)
_MSGPACK = (
    b"\x86\xa1k\xa2ab\xa1t\xcb\x40\x00\x00\x00\x00\x00\x00\x00\xa1x\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xa1y\xcd\x01\x02"
    b"\xa1v\x92\x01\xca\x3f\x80\x00\x00\xa2id\x05",
    b"\x84\xa1k\x07\xa1t\xd7\xff\x00\x00\x00\x04\x5e\x0b\xe1\x00\xa1x\xc0\xa2id\xd9\x02ab",
    b"\x82\xa1x\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa1y\xca\xff\x80\x00\x00",
    b"\x83\xa1k\xd0\x85\xa1t\xd9\x142020-01-01T00:00:00Z\xa1u\xde\x00\x01\xa1x\xc4\x01\x00",
)
_FLOATS = (struct.pack("<5d", 1, 2, 3, math.nan, 4), struct.pack("<3f", 1, 2, 3), struct.pack("<2f", 0.1, math.inf))

SEEDS = [
    data_of(number, [(b"key", value) for value in values] + [(None, values[0]), (b"key", None)])
    for number, setup in enumerate(SETUPS)
    for values in [{"json": _JSON, "msgpack": _MSGPACK}.get(setup.stream.format, _FLOATS)]
]

WORDS = [
    *(BETWEEN, BESIDES, b'"k":', b'"t":', b'"x":', b'"v":', b'"id":', b"null", b"true", b"NaN", b"Infinity", b"1e999"),
    *(b"-0", b"1e-400", b'"\\ud800"', b'"\\ud83d\\ude00"', b"\\u0078", b"\xef\xbb\xbf", b"+23:59", b"[[[["),
    *(b"2020-02-29T23:59:60Z", b"9223372036854775808", b"18446744073709551616", b"\xa1k", b"\xa1t", b"\xa1x", b"\xa1v"),
    *(b"\xa2id", b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff"),
    *(b"\xdb\xff\xff\xff\xff", b"\xcb" + struct.pack(">d", math.nan), struct.pack("<d", math.nan)),
    struct.pack("<f", math.inf),
]
"""What a fuzzer would take long to come by."""
