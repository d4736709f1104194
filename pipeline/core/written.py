"""Events as people and programs write them to files: JSON Lines, or CSV with a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from pipeline.core.config.problem import mismatch

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'"[^"]*"?')


class BadLineError(ValueError):
    """A line that is no event: its number, from 1, and what is wrong with it."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Written:
    """One event: the number of its (last) line, its fields, and its JSON just as it was written, if it was."""

    number: int
    fields: dict[str, Any]
    json: bytes | None = None


def is_csv(name: str) -> bool:
    """Whether a file of that name holds CSV, by commas or tabs; else it holds JSON Lines."""
    return name.lower().endswith((".csv", ".tsv"))


def read_events(name: str, lines: Iterable[bytes], vectors: Collection[str] = ()) -> Iterator[Written]:
    """The events of a file of that name. Raises BadLineError."""
    return read_csv(lines, vectors) if is_csv(name) else read_json_lines(lines)


def read_json_lines(lines: Iterable[bytes]) -> Iterator[Written]:
    """One JSON object a line; blank lines are passed over. Raises BadLineError."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(_unmarked(lines), 1):
        json = line.strip()
        if not json:
            continue
        try:
            fields = decode(json)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadLineError(number, str(error)) from None
        yield Written(number, fields, json)


def read_csv(lines: Iterable[bytes], vectors: Collection[str] = ()) -> Iterator[Written]:
    """One event a row, its fields named by the header. Raises BadLineError.

    What JSON would read as a number is one, other text stays text, and of an empty cell there is no field; a cell of
    ``vectors`` may hold an array of numbers as JSON writes it. Cells end at what ends most names of the header: commas,
    semicolons, tabs or bars.
    """
    texts = _texts(lines)
    first = _first_line(texts)
    rows = csv.reader(chain([first], texts), delimiter=_delimiter(first), strict=True)
    header = _next_row(rows, 0)
    if not header:
        raise BadLineError(1, "found nothing, expected a header with the names of the fields")
    if "" in header or len(set(header)) < len(header):
        raise BadLineError(1, mismatch(header, "a header with a different name for each field"))
    number = msgspec.json.Decoder(int | float).decode
    vector = msgspec.json.Decoder(list[float]).decode
    decoders = [vector if name in vectors else number for name in header]
    while (row := _next_row(rows, rows.line_num)) is not None:
        if not row:
            continue
        if len(row) != len(header):
            raise BadLineError(rows.line_num, f"found {len(row)} cells, expected {len(header)} as in the header")
        cells = zip(header, row, decoders, strict=True)
        yield Written(rows.line_num, {name: _value(cell, decode) for name, cell, decode in cells if cell})


def _value(cell: str, decode: Any) -> Any:
    try:
        return decode(cell)
    except msgspec.DecodeError:
        return cell


def _first_line(texts: Iterator[str]) -> str:
    try:
        return next(texts, "")
    except UnicodeDecodeError:
        raise BadLineError(1, "not UTF-8") from None


def _delimiter(header: str) -> str:
    """The one that a header has most of outside of quotation marks; the comma if it has none."""
    return max(_DELIMITERS, key=_QUOTED.sub("", header).count)


def _next_row(rows: Any, last: int) -> list[str] | None:
    """The next row, or None at the end; ``last`` is the number of the last line read."""
    try:
        row: list[str] | None = next(rows, None)
    except csv.Error as error:
        raise BadLineError(rows.line_num, str(error)) from None
    except UnicodeDecodeError:
        raise BadLineError(last + 1, "not UTF-8") from None
    return row


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    """Decoded line by line, so that a bad one is known by its number."""
    return (line.decode() for line in _unmarked(lines))


def _unmarked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Without the mark that spreadsheets put before UTF-8."""
    for number, line in enumerate(lines):
        yield line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line
