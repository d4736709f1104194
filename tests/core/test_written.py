"""Events in files: what is read, and which line is to blame."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.written import BadLineError, Written, read_csv, read_events, read_json_lines

VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
OBJECTS = st.dictionaries(st.text(), VALUES | st.text() | st.lists(VALUES, max_size=3), max_size=5)
# What a spreadsheet may hold; an integer with zeros before it is a name, not a number.
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n0123456789"), min_size=1)


def lines_of(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


def fields(text: str, **options: Any) -> list[dict[str, Any]]:
    return [event.fields for event in read_csv(lines_of(text), **options)]


@given(st.lists(OBJECTS))
def test_json_lines_are_read_as_the_standard_library_reads_them(objects: list[dict[str, Any]]) -> None:
    lines = [json.dumps(event).encode() + b"\n" for event in objects]
    assert [event.fields for event in read_json_lines(lines)] == objects


def test_json_is_kept_as_it_was_written() -> None:
    line = b'  {"player": "x",  "score": 1.50, "score": 2E0}\r\n'
    assert list(read_json_lines([b"\n", line, b"  \n"])) == [Written(2, {"player": "x", "score": 2.0}, line.strip())]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "truncated"),
        (b'{"a": NaN}', "invalid character"),
        (b'{"a": 1} {"a": 2}', "trailing characters"),
        (b"[1]", "Expected `object`, got `array`"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": ' + b"[" * 5_000, "depth"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(line: bytes, reason: str) -> None:
    events = read_json_lines([b'{"a": 0}\n', b"\n", line])
    assert next(events).number == 1
    with pytest.raises(BadLineError, match=reason) as bad:
        next(events)
    assert bad.value.number == 3


def test_numbers_become_numbers_text_stays_text_and_empty_cells_are_left_out() -> None:
    text = 'name,n,x,y\nann,1,-2.5e3,\n"a ""b"", c",,007,true\n'
    assert fields(text) == [{"name": "ann", "n": 1, "x": -2500.0}, {"name": 'a "b", c', "x": "007", "y": "true"}]
    assert [type(value) for value in fields(text)[0].values()] == [str, int, float]


@pytest.mark.parametrize("cell", ["NaN", "inf", "1e999", "0x10", "1_000", ".5", "+1", "1,5"])
def test_what_json_would_not_read_as_a_number_stays_text(cell: str) -> None:
    assert fields(f'x\n"{cell}"\n') == [{"x": cell}]


def test_vectors_are_arrays_in_a_cell() -> None:
    assert fields('k,text\n"[1, 2.5]","[1]"\n', vectors=["k"]) == [{"k": [1, 2.5], "text": "[1]"}]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2)))
def test_any_text_survives_a_spreadsheet(rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["a", "b"], *rows])
    assert [list(event.values()) for event in fields(buffer.getvalue())] == rows


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_cells_end_at_what_ends_the_names_of_the_header(delimiter: str) -> None:
    text = '"a,b,c,d"~b~c\n"x,y"~1~2\n'.replace("~", delimiter)
    assert fields(text) == [{"a,b,c,d": "x,y", "b": 1, "c": 2}]


def test_the_name_says_whether_it_is_a_spreadsheet() -> None:
    for name in ("a.csv", "A.CSV", "a.tsv"):
        assert [event.fields for event in read_events(name, [b"a\n", b"1\n"])] == [{"a": 1}]
    assert [event.fields for event in read_events("a.jsonl", [b'{"a": 1}\n'])] == [{"a": 1}]


def test_the_byte_order_mark_of_spreadsheets_is_no_part_of_a_name() -> None:
    assert [event.fields for event in read_csv([b"\xef\xbb\xbfa\n", b"1\n"])] == [{"a": 1}]
    assert [event.fields for event in read_json_lines([b'\xef\xbb\xbf{"a": 1}\n'])] == [{"a": 1}]


@pytest.mark.parametrize(
    ("lines", "number", "reason"),
    [
        ([], 1, "expected a header"),
        ([b"a,a\n"], 1, "a different name for each field"),
        ([b"a,\n"], 1, "a different name for each field"),
        ([b"a,b\n", b"1,2\n", b"1\n"], 3, "found 1 cells, expected 2"),
        ([b"a,b\n", b'"1\n', b'2",3\n', b"1,2,3\n"], 4, "found 3 cells, expected 2"),
        ([b"a\n", b"1\n", b"\xff\n"], 3, "not UTF-8"),
        ([b"a\n", b'"1\n'], 2, "unexpected end"),
    ],
)
def test_a_bad_row_is_named(lines: list[bytes], number: int, reason: str) -> None:
    with pytest.raises(BadLineError, match=reason) as bad:
        list(read_csv(lines))
    assert bad.value.number == number
