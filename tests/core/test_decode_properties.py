"""Decoding against Python's own json as the oracle, on documents and on what is left of them."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.core.decoding import reader, strict, wire

NAN = float("nan")


def oracle(value: bytes) -> dict[str, float] | None:
    """The columns x and y of an event, or None for a bad one."""
    try:
        document = strict(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    columns: dict[str, float] = {}
    for name in ("x", "y"):
        number = document.get(name)
        if number is None:
            columns[name] = NAN
        elif isinstance(number, bool) or not isinstance(number, (int, float)):
            return None
        else:
            try:
                columns[name] = float(number)
            except OverflowError:
                return None
            if math.isinf(columns[name]):
                return None
    return columns


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
NUMBERS = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.sampled_from(["x", "y"])
DOCUMENTS = st.dictionaries(NAMES, NUMBERS) | st.dictionaries(NAMES | st.text(), ANYTHING) | ANYTHING


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """A document as JSON, often with a piece of it replaced by other bytes."""
    value = json.dumps(draw(DOCUMENTS), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 3)))
        piece = draw(
            st.binary(max_size=3) | st.sampled_from([b",", b'"x":', b"1", b"e9", b"}", b"{", b"]", b"NaN", b" ", b'"'])
        )
        value = value[:start] + piece + value[end:]
    return value


@given(st.lists(encoded(), max_size=6))
def test_agrees_with_the_json_of_the_standard_library(values: list[bytes]) -> None:
    expected = [oracle(value) for value in values]
    events, rejects = reader(("x", "y")).decode(wire(list(values)))
    assert events.index.tolist() == [i for i, columns in enumerate(expected) if columns is not None]
    assert [reject.index for reject in rejects] == [i for i, columns in enumerate(expected) if columns is None]
    for name in ("x", "y"):
        np.testing.assert_array_equal(
            events.columns[name], [columns[name] for columns in expected if columns is not None]
        )


def packed(document: object) -> bytes:
    try:
        return msgspec.msgpack.encode(document)
    except (OverflowError, UnicodeEncodeError):
        return b""


@given(st.lists(st.binary(max_size=12) | DOCUMENTS.map(packed), max_size=6))
def test_every_msgpack_event_is_either_good_or_rejected_once(values: list[bytes]) -> None:
    events, rejects = reader(("x", "y"), format="msgpack").decode(wire(list(values)))
    refused = [reject.index for reject in rejects]
    assert sorted([*events.index.tolist(), *refused]) == list(range(len(values)))
    assert refused == sorted(refused)
    for row, place in enumerate(events.index.tolist()):
        document = msgspec.msgpack.decode(values[place], strict=False)
        number = document.get("x")
        np.testing.assert_equal(events.columns["x"][row], NAN if number is None else float(number))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_survive_exactly(numbers: list[float]) -> None:
    events, _ = reader().decode(wire([json.dumps({"x": number}).encode() for number in numbers]))
    assert events.columns["x"].tobytes() == np.array(numbers, np.float64).tobytes()
