"""What is in a file of events: its columns, and what each of them could be in a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.core.formats.document import Instant
from pipeline.core.written import BadLineError, is_csv, read_events
from pipeline.errors import InputError

ROWS = 1_000
"""How many events are looked at."""

_LONGEST_LINE = 2**20
_EPOCHS = {"s": 1e8, "ms": 1e11, "us": 1e14, "ns": 1e17}
"""From which number on Unix time is in that unit, if it is of 1973 or later."""

_TIME_WORDS = {"at", "date", "datetime", "epoch", "time", "timestamp", "ts", "when"}
_KEY_WORDS = {
    *("account", "city", "code", "country", "customer", "device", "host", "id", "item", "key", "line", "location"),
    *("machine", "name", "player", "product", "region", "room", "sensor", "site", "station", "symbol", "ticker"),
    *("tag", "team", "unit", "user", "zone"),
}
_COUNTING_WORDS = {"id", "index", "no", "nr", "number", "row"}
_CALENDAR = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
_COMMA = re.compile(r"[-+]?\d+,\d+")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Column:
    """A field of the events: its values in order, and how many events had none."""

    name: str
    values: Sequence[Any]
    empty: int

    @property
    def usable(self) -> bool:
        """Whether a configuration can name it."""
        return self.name.isprintable() and not any(part in self.name for part in ('"', "\\", "${"))

    @property
    def strays(self) -> list[Any]:
        """The values that are no numbers."""
        return [value for value in self.values if not _is_number(value)]

    @property
    def is_number(self) -> bool:
        """Whether most of its values are numbers."""
        return self.usable and 2 * len(self.strays) < len(self.values)

    @property
    def is_key(self) -> bool:
        """Whether each event has a value that can be its key."""
        return self.usable and not self.empty and all(_is_key(value) for value in self.values)

    @property
    def time_unit(self) -> str | None:
        """``"RFC 3339"``, or the unit of Unix time; None if not every event has a time in it."""
        if self.empty or not self.usable:
            return None
        if not self.strays:
            greatest = max(map(abs, self.values))
            return next((unit for unit, least in reversed(_EPOCHS.items()) if greatest >= least), "s")
        return "RFC 3339" if all(map(_is_instant, self.values)) else None

    @property
    def looks_like_time(self) -> bool:
        """Whether it is a time by its values, and if these are numbers also by its name."""
        unit = self.time_unit
        if unit is None or unit == "RFC 3339":
            return unit is not None
        return bool(self.words & _TIME_WORDS) and min(self.values) >= _EPOCHS["s"]

    @property
    def looks_like_date(self) -> bool:
        """Whether its values begin with a date, as people write it."""
        return bool(self.values) and all(_CALENDAR.match(str(value)) for value in self.values)

    @property
    def has_decimal_commas(self) -> bool:
        """Whether its values are numbers as they are written where the comma stands before the fraction."""
        return bool(self.values) and all(isinstance(value, str) and _COMMA.fullmatch(value) for value in self.values)

    @property
    def looks_like_key(self) -> bool:
        """Whether its values come again and again: text, or integers that the name calls a key.

        Of a name that says so, less is asked: one value in four has come before.
        """
        most = 0.75 if self.named_as_key else 0.5
        if not self.is_key or len(set(map(str, self.values))) > most * len(self.values):
            return False
        if not self.strays:
            return self.named_as_key
        return not (self.looks_like_time or self.looks_like_date or self.has_decimal_commas)

    @property
    def looks_like_value(self) -> bool:
        """Whether it holds numbers that are no mere numbering."""
        return self.is_number and not self.words & _COUNTING_WORDS

    @property
    def named_as_key(self) -> bool:
        """Whether its name says what has a state of its own."""
        return bool(self.words & _KEY_WORDS)

    @property
    def words(self) -> set[str]:
        """The words in its name."""
        return {word.lower() for word in _WORDS.findall(self.name)}


@dataclass(frozen=True)
class Survey:
    """The columns of the first events of a file, how many these are, and whether there are more."""

    columns: Sequence[Column]
    rows: int
    more: bool

    def named(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)


def survey(data: Path) -> Survey:
    """Look at the first events of a file, of CSV if its name says so, else of JSON Lines.

    Raises:
        InputError: it can't be read, holds no event, or a line of it is none.
    """
    try:
        with data.open("rb") as file:
            events = read_events(str(data), _lines(file))
            found = [event.fields for event in islice(events, ROWS)]
            more = next(file, None) is not None
    except BadLineError as bad:
        kind = (
            "CSV with a header" if is_csv(str(data)) else "JSON Lines: an object a line; the name of CSV ends in .csv"
        )
        raise InputError(f"{data}:{bad.number}: {bad.reason}", f"expected {kind}, in UTF-8") from None
    except OSError as error:
        raise InputError(f"{data}: {error.strerror}", "name a file that can be read") from None
    if not found:
        raise InputError(f"{data}: found no event", "name a file with some events: what they hold decides what is kept")
    names = dict.fromkeys(name for fields in found for name in fields)
    return Survey([_column(name, found) for name in names], len(found), more)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines, as long as they could be those of a text."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise BadLineError(number, f"longer than {_LONGEST_LINE:,} bytes")
        yield line


def _column(name: str, events: Sequence[dict[str, Any]]) -> Column:
    values = [fields[name] for fields in events if fields.get(name) is not None]
    return Column(name, values, len(events) - len(values))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_key(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_instant(value: object) -> bool:
    try:
        msgspec.convert(value, Instant)
    except msgspec.ValidationError:
        return False
    return True
