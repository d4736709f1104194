"""JSON and MessagePack: every value is an object, read straight into a struct that has just the fields asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from math import nan
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from pipeline.core.batch import Floats, Reject
from pipeline.core.expression import Kind, Texts, texts
from pipeline.core.formats.parsed import NON_FINITE, NULL_VALUE, Parsed, find_non_finite, joined, pick, places_without

Row = Any
"""One value, as an instance of the struct made from the configuration."""

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A key or an id that operators read as a number as well: bounded, so that it always has a nearest double."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
ABSENT = msgspec.Raw()


class BadValueError(ValueError):
    """A value that can't be read: the stage that refuses it, and the reason."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason


@dataclass(frozen=True)
class Besides:
    """Fields that are chosen from after reading: parts of the key, and what expressions read that is no number."""

    key_parts: Collection[str]
    others: Mapping[str, Kind]


_RUN = 2048
"""Values read together: few enough that what is made of them stays in the cache until it is columns."""


class DocumentFormat:
    """Objects with named fields.

    ``key`` and ``time`` are the fields that hold the key and the event time (numbers: ``units`` to the second), or
    None; ``scalars`` and ``vectors`` (with their lengths) are the numbers that operators read, ``ids`` tell events
    apart. ``besides`` are the fields for what is chosen afterwards: an event without key or time is read then.
    """

    def __init__(
        self,
        codec: Literal["json", "msgpack"],
        *,
        key: str | None,
        time: str | None,
        units: float,
        scalars: Collection[str],
        vectors: Mapping[str, int],
        ids: Collection[str] = (),
        besides: Besides | None = None,
    ) -> None:
        self._text = codec == "json"
        self._units = units
        self._vectors = dict(vectors)
        named = [field for field in dict.fromkeys((key, time)) if field is not None]
        required = named if besides is None else []
        besides = besides or Besides((), {})
        ids, others = {*ids, *besides.key_parts}, besides.others
        optional = [f for f in dict.fromkeys((*named, *scalars, *vectors, *ids, *others)) if f not in required]
        # A struct's attributes are identifiers, a document's fields are any text.
        self._attributes = {field: f"field_{i}" for i, field in enumerate((*required, *optional))}
        names = self._names = {key, *ids}
        types = {
            field: _type(field, names, time, scalars, vectors, kind=others.get(field)) for field in self._attributes
        }
        rename = {attribute: field for field, attribute in self._attributes.items()}
        self._struct = msgspec.defstruct(
            "Row",
            [(self._attributes[field], types[field]) for field in required]
            + [(self._attributes[field], types[field] | None, None) for field in optional],
            rename=rename,
            gc=False,
        )
        raw = msgspec.defstruct("RawRow", [(name, msgspec.Raw, ABSENT) for name in rename], rename=rename, gc=False)
        decoder = msgspec.json.Decoder if self._text else msgspec.msgpack.Decoder
        self._decode: Callable[[bytes], Row] = decoder(self._struct).decode
        self._decode_raw: Callable[[bytes], Row] = decoder(raw).decode
        self._decode_field = {field: decoder(types[field]).decode for field in self._attributes}
        self._get = {field: attrgetter(attribute) for field, attribute in self._attributes.items()}
        self._null = msgspec.json.encode(None) if self._text else msgspec.msgpack.encode(None)
        self._required = required
        self._key = key
        self._key_fields = {key, *besides.key_parts}
        self._time = time
        self._ids = sorted(ids)
        flags = {field for field, kind in others.items() if kind is Kind.BOOLEAN}
        self._numbers = [field for field in self._attributes if field in scalars or field in flags]
        self._texts = [field for field, kind in others.items() if kind is Kind.TEXT]
        self._presences = [field for field, kind in others.items() if kind is Kind.ANY and field not in scalars]

    def parse(self, values: list[bytes | None]) -> Parsed:
        """The values as columns, NaN where a field is absent or null."""
        return joined([self._parse(values[at : at + _RUN], at) for at in range(0, len(values) or 1, _RUN)])

    def _parse(self, values: list[bytes | None], first: int) -> Parsed:
        """Some neighbouring values, the first of which has this place in the batch."""
        rows: list[Row] = []
        rejects: list[Reject] = []
        # The iterator goes on behind a value that raised, and `extend` keeps what came before it: good values never
        # pay for bad ones, and none of them is looked at by Python code.
        pending = map(self._decode, values)  # type: ignore[arg-type]
        while True:
            try:
                rows.extend(pending)
            except (*UNREADABLE, TypeError):
                place = len(rows) + len(rejects)
                try:
                    rows.append(self._reread(values[place]))
                except BadValueError as bad:
                    rejects.append(Reject(first + place, bad.stage, bad.reason))
            else:
                break
        index = first + places_without(len(values), [reject.index - first for reject in rejects])
        ids = {field: _texts(list(map(self._get[field], rows))) for field in self._ids}
        texts = {field: self._text_column(field, rows) for field in self._texts}
        parsed = Parsed(index, self._keys(rows), self._times(rows), self._columns(rows), rejects, ids=ids, texts=texts)
        if self._text:
            self._find_bad_text(pick(values, index - first), parsed)
        else:
            self._find_non_finite(rows, parsed)
        return parsed

    def _reread(self, value: bytes | None) -> Row:
        """Read a value that was refused field by field.

        So the last of duplicate fields counts, and the reason can name the field.
        """
        if not value:
            raise BadValueError("decode", NULL_VALUE if value is None else "empty value")
        try:
            if self._text:
                value.decode()
            contents = self._decode_raw(value)
        except UNREADABLE as error:
            raise BadValueError("decode", f"malformed value: {_cause(error)}") from None
        return self._struct(*(self._read_field(field, get(contents)) for field, get in self._get.items()))

    def _read_field(self, field: str, content: msgspec.Raw) -> object:
        stage = "key" if field in self._key_fields else "decode"
        if content is ABSENT or bytes(content).strip() == self._null:
            if field in self._required:
                raise BadValueError(stage, f"missing or null: {field}")
            return None
        try:
            return self._decode_field[field](content)
        except UNREADABLE as error:
            raise BadValueError(stage, f"invalid field: {field}: {_cause(error)}") from None

    def _keys(self, rows: list[Row]) -> list[bytes] | None:
        if self._key is None:
            return None
        return _texts(list(map(self._get[self._key], rows)))  # type: ignore[return-value] # it is required

    def _times(self, rows: list[Row]) -> Floats | None:
        if self._time is None:
            return None
        get = self._get[self._time]
        try:
            return np.fromiter(map(get, rows), np.float64, len(rows)) / self._units
        except TypeError:
            times = map(get, rows)
            return np.fromiter((self._seconds(time) for time in times), np.float64, len(rows))

    def _seconds(self, time: float | datetime | None) -> float:
        if time is None:
            return nan
        return time.timestamp() if isinstance(time, datetime) else time / self._units

    def _columns(self, rows: list[Row]) -> dict[str, Floats]:
        columns: dict[str, Floats] = {}
        for field in self._numbers:
            columns[field] = self._column(field, rows)
        for field, width in self._vectors.items():
            blank = (nan,) * width
            vectors = [blank if vector is None else vector for vector in map(self._get[field], rows)]
            numbers = np.fromiter(chain.from_iterable(vectors), np.float64, len(rows) * width)
            columns[field] = numbers.reshape(len(rows), width)
        for field in self._presences:
            found = (nan if value is None else 0.0 for value in map(self._get[field], rows))
            columns[field] = np.fromiter(found, np.float64, len(rows))
        return columns

    def _column(self, field: str, rows: list[Row]) -> Floats:
        get = self._get[field]
        try:
            return np.fromiter(map(get, rows), np.float64, len(rows))
        except TypeError:  # where there is a null, which an array made of a list takes as NaN
            return np.array(list(map(get, rows)), np.float64)

    def _text_column(self, field: str, rows: list[Row]) -> Texts:
        """Text as it is; in a field that tells keys or events apart an integer as decimal text."""
        values = list(map(self._get[field], rows))
        if field in self._names:
            values = [str(value) if isinstance(value, int) else value for value in values]
        return texts(values)

    def _find_bad_text(self, read: list[bytes | None], parsed: Parsed) -> None:
        """The decoder skips fields that nobody reads without looking whether their text is UTF-8."""
        if b"".join(read).isascii():  # type: ignore[arg-type] # null values are not among them
            return
        ascii_only = map(bytes.isascii, read)  # type: ignore[arg-type]
        for row in [row for row, plain in enumerate(ascii_only) if not plain]:
            try:
                (read[row] or b"").decode()
            except UnicodeDecodeError as error:
                parsed.flaws[row] = Reject(int(parsed.index[row]), "decode", f"malformed value: {_cause(error)}")

    def _find_non_finite(self, rows: list[Row], parsed: Parsed) -> None:
        """MessagePack, unlike JSON, can write NaN and the infinities."""
        columns = dict(parsed.columns)
        if self._time is not None and parsed.times is not None:
            columns[self._time] = parsed.times
        for row, field in find_non_finite(columns):
            if self._get[field](rows[row]) is not None:
                parsed.flaws[row] = Reject(int(parsed.index[row]), "decode", f"{NON_FINITE}: {field}")


def _texts(names: list[Any]) -> list[bytes | None]:
    """Text as UTF-8, an integer as decimal text."""
    try:
        return list(map(str.encode, names))
    except TypeError:
        return [None if name is None else str(name).encode() for name in names]


def _type(
    field: str,
    names: Collection[str | None],
    time: str | None,
    scalars: Collection[str],
    vectors: Mapping[str, int],
    *,
    kind: Kind | None,
) -> Any:
    """What a field has to be for all that is asked of it; ``names`` tell keys or events apart."""
    if field in names:
        return Integer if field in scalars else str | int
    if field in vectors:
        return tuple[(float,) * vectors[field]]  # type: ignore[misc]
    if field == time and field not in scalars:
        return float | Instant
    if field in scalars or field == time:
        return float
    return {Kind.TEXT: str, Kind.BOOLEAN: bool, Kind.ANY: Any}[kind or Kind.ANY]


def _cause(error: Exception) -> str:
    """The decoder's words."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error)
