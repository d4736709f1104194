"""From an event's fields to the record that a stream's producer would send."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from pipeline.core.batch import WireBatch
from pipeline.core.config.model import Stream
from pipeline.core.config.problem import mismatch, shown
from pipeline.core.decode import Decoder
from pipeline.core.written import Written
from pipeline.errors import InputError

_NUMBERS = {"float64": "d", "float32": "f"}


class RecordEncoder:
    """Writes the records of one stream: the value in its format, the key as the stream or the field ``key`` says.

    Raises:
        InputError: no field is named for the key, or another one than the stream's.
    """

    def __init__(self, stream: Stream, key: str | None = None) -> None:
        _check_key(stream, key)
        self._key = _key_of(stream, key)
        self._value = _value_of(stream)

    def encode(self, event: Written) -> tuple[bytes | None, bytes]:
        """Key (text as UTF-8, an integer as decimal text) and value. Raises ValueError, saying what is wrong.

        The events of a stream that is repartitioned have no key, unless one was named.
        """
        try:
            value = self._value(event)
            return self._key(event, value), value
        except (msgspec.ValidationError, OverflowError) as error:
            raise ValueError(str(error)) from None


def _key_of(stream: Stream, given: str | None) -> Callable[[Written, bytes], bytes | None]:
    if given is not None:
        return _field_key(given)
    if stream.repartition:
        return lambda event, value: None
    made = stream.key_parts or set(stream.key_fields) & set(stream.select)
    return _decoded_key(stream) if made else _field_key(stream.key_fields[0])


def _check_key(stream: Stream, given: str | None) -> None:
    if stream.repartition:
        return
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


def _field_key(field: str) -> Callable[[Written, bytes], bytes]:
    """The key is a field of the event."""

    def key_of(event: Written, _: bytes) -> bytes:
        key = event.fields.get(field)
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ValueError(f"{field}: {mismatch(key, 'text or an integer: it is the key')}")
        return str(key).encode()

    return key_of


def _decoded_key(stream: Stream) -> Callable[[Written, bytes], bytes]:
    """The key is made of the event: it is the one under which a worker will fold it."""
    decoder = Decoder(replace(stream, where=None), (), {})

    def key_of(_: Written, value: bytes) -> bytes:
        events, rejects = decoder.decode(WireBatch(stream.topic, 0, 0, 1, [None], [value], [0], [0]))
        if rejects:
            raise ValueError(rejects[0].reason)
        return events.keys[0]

    return key_of


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
