"""Decoding against plain Python, record by record, on documents and on what is left of them."""

from __future__ import annotations

import json
import math
import operator
from datetime import datetime, timedelta, timezone

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.decoding import reader, wire
from tests.fuzz.decoder import SETUPS, Setup, check
from tests.fuzz.records import Record

TEXT = st.text(st.characters(exclude_categories=()), max_size=5)
ODD = st.sampled_from([None, math.nan, math.inf, -0.0, True, 2**64, 10**400])
NUMBERS = ODD | st.integers() | st.floats()
SCALARS = NUMBERS | st.booleans() | TEXT
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8)
ZONES = st.sampled_from([timezone(timedelta(minutes=minutes)) for minutes in (0, 330, -839)])
TIMES = st.datetimes(timezones=ZONES).map(datetime.isoformat) | st.integers(0, 2**40)
SOUND = st.fixed_dictionaries(
    {"k": st.text() | st.integers(-9, 9), "t": TIMES, "x": ODD | st.floats(), "unread text": TEXT},
    optional={"ok": st.none() | st.booleans(), "note": st.sampled_from([None, "a", "b", 1]), "id": TEXT},
)
FIELDS = st.sampled_from(["x", "y", "k", "t", "v", "id", "unread", "ok", "note"])
OTHERS = st.dictionaries(FIELDS | TEXT, NUMBERS | st.lists(NUMBERS, min_size=2, max_size=2) | ANYTHING, max_size=3)
DOCUMENTS = SOUND | st.builds(operator.or_, SOUND, OTHERS) | OTHERS | ANYTHING
PIECES = st.sampled_from([b",", b'"x":', b"1", b"e9", b"}", b"{", b"]", b"NaN", b" ", b'"', b"\xc1", b"\xdf", b"\xff"])
KEYS = st.none() | st.binary(max_size=5) | st.just(b"k" * 65)


def as_json(document: object, escaped: bool) -> bytes:
    return json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


def as_msgpack(document: object) -> bytes:
    try:
        return msgspec.msgpack.encode(document)
    except (OverflowError, UnicodeEncodeError):
        return b"\x80"


def values(setup: Setup) -> st.SearchStrategy[bytes]:
    match setup.stream.format:
        case "json":
            return st.builds(as_json, DOCUMENTS, st.booleans())
        case "msgpack":
            return DOCUMENTS.map(as_msgpack)
    sizes = st.sampled_from([0, 4, 8, 12, 16, 40])
    return sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size))


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes | None:
    """A value, often with a piece of it replaced by other bytes."""
    value = draw(whole)
    if not draw(st.booleans()):
        return draw(st.sampled_from([value, value, value, None]))
    start = draw(st.integers(0, len(value)))
    end = draw(st.integers(start, min(len(value), start + 3)))
    return value[:start] + draw(st.binary(max_size=3) | PIECES) + value[end:]


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.stream.format)
@settings(max_examples=50)
@given(data=st.data())
def test_agrees_with_plain_python_whatever_comes_in_one_batch(data: st.DataObject, setup: Setup) -> None:
    records: st.SearchStrategy[Record] = st.tuples(KEYS, damaged(values(setup)))
    check(setup, data.draw(st.lists(records, max_size=4)))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_survive_exactly(numbers: list[float]) -> None:
    events, _ = reader().decode(wire([json.dumps({"x": number}).encode() for number in numbers]))
    assert events.columns["x"].tobytes() == np.array(numbers, np.float64).tobytes()
