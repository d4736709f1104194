"""An input of a fuzzer: the number of a set-up in one byte, then records.

What parts them are bytes that UTF-8 never has: a piece that is moved or copied is likely to stay one.
"""

from __future__ import annotations

from collections.abc import Sequence

BETWEEN, BESIDES, NULL = b"\xf8\xf9\xfa", b"\xfa\xf9\xf8", b"\xf8"
"""What is between records, what is between a key and its value, and what stands for null."""

Record = tuple[bytes | None, bytes | None]
"""Key and value."""


def parsed(data: bytes) -> tuple[int, list[Record]]:
    """The set-up and the records that an input stands for: any bytes stand for some."""
    return data[0] if data else 0, [_record(part) for part in data[1:].split(BETWEEN)]


def data_of(setup: int, records: Sequence[Record]) -> bytes:
    """An input that stands for these records."""
    return bytes([setup]) + BETWEEN.join(_part(key) + BESIDES + _part(value) for key, value in records)


def _record(part: bytes) -> Record:
    key, besides, value = part.partition(BESIDES)
    if not besides:
        key, value = b"k", part
    return None if key == NULL else key, None if value == NULL else value


def _part(content: bytes | None) -> bytes:
    return NULL if content is None else content
