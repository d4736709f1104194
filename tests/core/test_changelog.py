"""Reading a changelog: records that no table can have written are refused, whatever comes with them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.changelog import Changelog
from pipeline.core.config.model import Table
from pipeline.core.state import TableState
from tests.fuzz.changelog import TABLES, WORDS, check, written
from tests.fuzz.records import Record

MEAN, WINDOW, DEDUPE = TABLES


def read(table: Table, records: Sequence[Record]) -> Changelog:
    reader = Changelog(TableState(table))
    reader.apply([key for key, _ in records], [value for _, value in records])
    reader.finish()
    return reader


def changed(table: Table, kind: bytes, change: Callable[[bytes], bytes]) -> list[Record]:
    """What a table logs of seven events, with the first record of a kind changed."""
    records = dict(written(table, 7))
    key = next(key for key in records if key is not None and key.startswith(kind))
    records[key] = change(records[key] or b"")
    return list(records.items())


def at(place: int, part: bytes) -> Callable[[bytes], bytes]:
    return lambda value: value[:place] + part + value[place + len(part) :]


def meta(**fields: object) -> Callable[[bytes], bytes]:
    def change(value: bytes) -> bytes:
        record: Mapping[str, Any] = json.loads(value) | fields
        return json.dumps(record).encode()

    return change


NAN, BEFORE_ALL = struct.pack("<d", math.nan), struct.pack("<q", -1)
FOREIGN = [
    ("a meta record that is not UTF-8", MEAN, b"M", at(2, b"\xff")),
    ("a meta record nested too deep", MEAN, b"M", lambda _: b"[" * 100_000),
    ("a meta record of format 0", MEAN, b"M", meta(format=0)),
    ("a meta record that goes on before the first offset", MEAN, b"M", meta(next_offset=-1)),
    ("a meta record that goes on after the last offset", MEAN, b"M", meta(next_offset=2**63)),
    ("a meta record of fewer than no keys", MEAN, b"M", meta(keys=-1)),
    ("a meta record with a mark before the first offset", DEDUPE, b"M", meta(passed={"marks": [[1e9, -1]]})),
    ("a row from behind the offset where the meta record goes on", MEAN, b"M", meta(next_offset=12)),
    ("a row without an offset", MEAN, b"R", at(9, BEFORE_ALL)),
    ("a row at no time", MEAN, b"R", at(1, NAN)),
    ("a row with a number that is not finite", MEAN, b"R", lambda value: value[:-8] + NAN),
    ("a row of fewer than no inputs", WINDOW, b"R", at(17, BEFORE_ALL)),
    ("a page with an input that is not finite", WINDOW, b"P", at(0, NAN)),
    ("an id before the first offset", DEDUPE, b"I", at(16, BEFORE_ALL)),
    ("an id at no time", DEDUPE, b"I", at(24, NAN)),
]


@pytest.mark.parametrize(("table", "kind", "change"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN])
def test_a_record_that_no_table_writes_is_refused(table: Table, kind: bytes, change: Callable[[bytes], bytes]) -> None:
    assert read(table, written(table, 7)).trouble is None
    trouble = read(table, changed(table, kind, change)).trouble
    assert trouble is not None
    assert "did not write" in trouble.cause
    assert "streamfold reset FILE" in trouble.mend


def test_a_key_that_only_begins_like_the_meta_records_is_refused() -> None:
    assert read(MEAN, [(b"Mine", None)]).trouble is not None


@pytest.mark.parametrize(("table", "kind"), [(MEAN, b"R"), (MEAN, b"M"), (WINDOW, b"P")], ids=["row", "meta", "page"])
def test_a_foreign_record_is_refused_even_if_a_later_one_of_the_same_batch_has_its_key(
    table: Table, kind: bytes
) -> None:
    records = written(table, 7)
    key = next(key for key, _ in records if key is not None and key.startswith(kind))
    assert read(table, [(key, b"foreign"), *records]).trouble is not None


@pytest.mark.parametrize("table", TABLES, ids=["numbers", "rings", "dedupe and ttl"])
@settings(max_examples=40)
@given(data=st.data())
def test_a_changelog_is_restored_to_just_what_it_says_or_refused(data: st.DataObject, table: Table) -> None:
    records = written(table, data.draw(st.sampled_from([1, 7, 150])))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(records) - 1))
        key, value = records[place]
        match data.draw(st.sampled_from(["key", "value", "value", "null", "drop", "again"])):
            case "key":
                records[place] = data.draw(damaged(key or b"")), value
            case "value":
                records[place] = key, data.draw(damaged(value or b""))
            case "null":
                records[place] = key, None
            case "drop" if len(records) > 1:
                del records[place]
            case "again":
                records.append((key, data.draw(st.none() | st.just(value))))
    check(table, records)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of which some are others, mostly as many."""
    piece = draw(st.sampled_from(WORDS) | st.binary(min_size=1, max_size=8))
    start = draw(st.integers(0, len(content)))
    end = start + draw(st.sampled_from([len(piece), len(piece), 0]))
    return content[:start] + piece + content[end:]
