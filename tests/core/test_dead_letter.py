"""Dead letters: raw bytes and readable headers, within the topic's limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecordsBuilder

from pipeline.core.batch import Reject, WireBatch
from pipeline.core.dead_letter import DeadLetter, dead_letter

REJECT = Reject(1, "decode", "malformed value: é")


def letter(
    key: bytes | None, value: bytes | None, *, limit: int = 1 << 20, reject: Reject = REJECT, timestamp: int = 1_500
) -> DeadLetter:
    batch = WireBatch("scores", 2, 40, 42, [b"other", key], [b"other", value], [40, 41], [0, timestamp])
    return dead_letter(reject, batch, "games", limit=limit, states={"player": "id-1", "latest": "id-2"})


def test_headers_say_what_and_where() -> None:
    made = letter(b"k", b"\xff\x00")
    assert (made.key, made.value) == (b"k", b"\xff\x00")
    assert {name: (value or b"").decode() for name, value in made.headers} == {
        "reason": "malformed value: é",
        "stage": "decode",
        "stream": "games",
        "topic": "scores",
        "partition": "2",
        "offset": "41",
        "time": "1970-01-01T00:00:01.500Z",
        "state": "id-1,id-2",
    }


def test_the_table_that_refused_it_is_named() -> None:
    made = letter(b"k", b"{}", reject=Reject(1, "fold", "overflow", "player"))
    assert dict(made.headers)["table"] == b"player"
    assert dict(made.headers)["state"] == b"id-1"


@pytest.mark.parametrize("key", [None, b"", b"k"])
@pytest.mark.parametrize("value", [None, b"", b"v"])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_null_stays_null_and_empty_stays_empty(key: bytes | None, value: bytes | None, limit: int) -> None:
    made = letter(key, value, limit=limit)
    assert (made.key is None, made.value is None) == (key is None, value is None)
    if limit:
        assert (made.key, made.value) == (key, value)


@given(st.none() | st.integers(0, 3000), st.none() | st.integers(0, 3000), st.integers(600, 4000))
def test_what_does_not_fit_is_cut(key_size: int | None, value_size: int | None, limit: int) -> None:
    key = None if key_size is None else b"k" * key_size
    value = None if value_size is None else b"v" * value_size
    made = letter(key, value, limit=limit)
    assert _batch_size(made) <= limit
    truncated = dict(made.headers).get("truncated")
    cut = [name for name, now, was in (("key", made.key, key), ("value", made.value, value)) if now != was]
    assert (truncated or b"").decode() == ", ".join(cut)
    assert (key or b"").startswith(made.key or b"")
    assert (value or b"").startswith(made.value or b"")
    if made.key != key:
        assert not made.value


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_any_timestamp_has_a_text(timestamp: int) -> None:
    assert dict(letter(b"k", b"v", timestamp=timestamp).headers)["time"]


def _batch_size(made: DeadLetter) -> int:
    builder = MemoryRecordsBuilder(2, 0, 1 << 24)
    builder.append(0, made.key, made.value, made.headers)
    builder.close()
    return int(builder.size_in_bytes())
