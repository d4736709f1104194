"""Output records: the fields, their order, and what undefined results look like."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.encode import Encoder, key_text, key_texts, undefined

NAN = float("nan")


def encode(results: dict[str, object], count: int = 2) -> list[str]:
    encoder = Encoder("player", list(results))
    records = encoder.encode(
        [f"p{i}" for i in range(count)],
        np.arange(count, dtype=np.float64) + 0.5,
        3,
        np.arange(7, 7 + count),
        results,  # type: ignore[arg-type]
    )
    return [record.decode() for record in records]


def test_fields_come_in_the_order_of_the_table() -> None:
    assert encode({"games": np.array([1, 2]), "average": np.array([0.1, 2.0])}) == [
        '{"key":"p0","time":0.5,"partition":3,"offset":7,"games":1,"average":0.1}',
        '{"key":"p1","time":1.5,"partition":3,"offset":8,"games":2,"average":2.0}',
    ]


def test_vectors_named_parts_and_memories() -> None:
    parts = {"key": np.array([[1.0, 2.0], [3.0, 4.0]]), "score": np.array([5.0, 6.0])}
    memory = [{"mu": [[1.0]], "count": 1}, {"mu": [[2.0]], "count": 2}]
    first, second = encode({"pair": parts, "pair.state": memory, "moving": np.array([[1.0], [2.0]])})
    assert '"pair":{"key":[1.0,2.0],"score":5.0},"pair.state":{"mu":[[1.0]],"count":1},"moving":[1.0]}' in first
    assert '"pair":{"key":[3.0,4.0],"score":6.0},"pair.state":{"mu":[[2.0]],"count":2},"moving":[2.0]}' in second


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_what_is_not_finite_is_null(bad: float) -> None:
    vector = np.array([[1.0, bad], [1.0, 2.0]])
    results: dict[str, object] = {"a": np.array([bad, 1.0]), "b": vector, "c": {"v": vector, "s": np.array([1.0, bad])}}
    first, second = map(json.loads, encode(results))
    assert (first["a"], first["b"], first["c"]) == (None, None, {"v": None, "s": 1.0})
    assert (second["a"], second["b"], second["c"]) == (1.0, [1.0, 2.0], {"v": [1.0, 2.0], "s": None})


def test_undefined_counts_rows() -> None:
    vector = np.array([[1.0, NAN], [NAN, NAN], [1.0, 2.0]])
    assert undefined(np.array([1.0, NAN, math.inf])) == 2
    assert undefined(np.array([1, 2])) == 0
    assert undefined(vector) == 2
    assert undefined({"v": vector, "s": np.array([NAN, 1.0, NAN])}) == 3


def test_no_rows() -> None:
    assert encode({"a": np.empty(0), "v": np.empty((0, 2)), "p": {"v": np.empty((0, 2))}, "p.state": []}, count=0) == []
    assert undefined(np.empty((0, 2))) == 0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.integers(-(2**63), 2**63 - 1))
def test_numbers_survive_exactly(numbers: list[float], count: int) -> None:
    records = encode({"x": np.array(numbers), "n": np.full(len(numbers), count)}, count=len(numbers))
    read = [json.loads(record) for record in records]
    assert np.array([record["x"] for record in read]).tobytes() == np.array(numbers).tobytes()
    assert {record["n"] for record in read} == {count}


@given(st.text())
def test_any_text_is_a_key_and_a_field(text: str) -> None:
    if not text.isprintable() or set(text) & set('"\\') or text in {"key", "time", "partition", "offset"}:
        text = "field"
    record = Encoder("t", [text]).encode([text], np.array([0.0]), 0, np.array([1]), {text: np.array([1.0])})[0]
    assert json.loads(record) == {"key": text, "time": 0.0, "partition": 0, "offset": 1, text: 1.0}


def test_keys_as_text() -> None:
    assert key_text("é".encode()) == "é"
    assert key_text(b"\xff\x00") == "base64:/wA="
    assert key_texts([b"a", b"\xff\x00", b""]) == ["a", "base64:/wA=", ""]
    assert key_texts([b"a", b"b"]) == ["a", "b"]
