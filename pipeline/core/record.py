"""From an event's fields to the record that a stream's producer would send."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from pipeline.core.config.model import Stream
from pipeline.core.config.problem import mismatch, shown
from pipeline.core.written import Written
from pipeline.errors import InputError

_NUMBERS = {"float64": "d", "float32": "f"}


class RecordEncoder:
    """Writes the records of one stream: the value in its format, the key from the field ``key``.

    Raises:
        InputError: no field is named for the key, or another one than the stream's.
    """

    def __init__(self, stream: Stream, key: str | None = None) -> None:
        self._key = _key_field(stream, key)
        self._value = _value_of(stream)

    def encode(self, event: Written) -> tuple[bytes, bytes]:
        """Key (text as UTF-8, an integer as decimal text) and value. Raises ValueError, saying what is wrong."""
        key = event.fields.get(self._key)
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ValueError(f"{self._key}: {mismatch(key, 'text or an integer: it is the key')}")
        try:
            return str(key).encode(), self._value(event)
        except (msgspec.ValidationError, OverflowError) as error:
            raise ValueError(str(error)) from None


def _key_field(stream: Stream, given: str | None) -> str:
    if stream.key is None and given is None:
        raise InputError(
            f"the stream {shown(stream.name)} takes the key of the record, and no field is named for it",
            "name the field that is to be the record's key: --key FIELD",
        )
    if stream.key is not None and given not in (None, stream.key):
        raise InputError(
            f"--key: found {shown(given)}, expected {shown(stream.key)}: a topic is partitioned by its stream's key",
            "leave --key out",
        )
    return stream.key or given or ""


def _value_of(stream: Stream) -> Callable[[Written], bytes]:
    if stream.binary:
        return _row_of(stream)
    if stream.format == "msgpack":
        pack = msgspec.msgpack.Encoder().encode
        return lambda event: pack(event.fields)
    encode = msgspec.json.Encoder().encode
    return lambda event: encode(event.fields) if event.json is None else event.json


def _row_of(stream: Stream) -> Callable[[Written], bytes]:
    """Raw little-endian numbers, the fields in order."""
    widths = [stream.vectors.get(field) for field in stream.fields]
    attributes = [f"field_{i}" for i in range(len(widths))]
    types: list[Any] = [float if width is None else tuple[(float,) * width] for width in widths]  # type: ignore[misc]
    layout = msgspec.defstruct(
        "Row",
        list(zip(attributes, types, strict=True)),
        rename=dict(zip(attributes, stream.fields, strict=True)),
    )
    count = sum(1 if width is None else width for width in widths)
    pack = struct.Struct(f"<{count}{_NUMBERS[stream.format]}").pack

    def row(event: Written) -> bytes:
        numbers: list[float] = []
        for width, number in zip(widths, msgspec.structs.astuple(msgspec.convert(event.fields, layout)), strict=True):
            if width is None:
                numbers.append(number)
            else:
                numbers.extend(number)
        return pack(*numbers)

    return row
