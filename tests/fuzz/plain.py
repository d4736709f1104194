"""JSON, MessagePack and times as plain Python reads them: slowly, without any library, and with nothing left out.

It is what the decoder is measured by, and, being Python, what a coverage-guided fuzzer can see into.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from json.decoder import py_scanstring  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_LENGTHS = {
    0xC4: ("bytes", ">B"),
    0xC5: ("bytes", ">H"),
    0xC6: ("bytes", ">I"),
    0xC7: ("ext", ">B"),
    0xC8: ("ext", ">H"),
    0xC9: ("ext", ">I"),
    0xD9: ("text", ">B"),
    0xDA: ("text", ">H"),
    0xDB: ("text", ">I"),
    0xDC: ("array", ">H"),
    0xDD: ("array", ">I"),
    0xDE: ("map", ">H"),
    0xDF: ("map", ">I"),
}


class Extension(NamedTuple):
    """A MessagePack value of an extension type."""

    kind: int
    content: bytes


class Unreadable(ValueError):
    """Bytes that are no document."""


class _StrictJson(json.JSONDecoder):
    """The standard library's reader in its Python form, without its extensions to JSON."""

    def __init__(self) -> None:
        super().__init__(parse_constant=_refused, parse_int=_ascii(int), parse_float=_ascii(float))
        self.parse_string = py_scanstring
        self.scan_once = py_make_scanner(self)


def _refused(name: str) -> object:
    raise Unreadable(name)


def _ascii(number: Callable[[str], Any]) -> Callable[[str], Any]:
    """The library's Python form takes the digits of every script."""

    def read(text: str) -> Any:
        if not text.isascii():
            raise Unreadable(text)
        return number(text)

    return read


_JSON = _StrictJson()


def read_json(raw: bytes) -> object:
    """A document of strict JSON; of duplicate fields the last counts. RecursionError if it is nested very deep.

    Raises:
        Unreadable: it is none.
    """
    try:
        document: object = _JSON.decode(raw.decode())
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate is no text
    except ValueError as error:
        raise Unreadable(str(error)) from None
    return document


def read_msgpack(raw: bytes) -> object:
    """A document of MessagePack. A text that is not UTF-8 is bytes, for the specification leaves that open.

    Raises:
        Unreadable: it is none.
    """
    value, at = _msgpack(raw, 0)
    if at != len(raw):
        raise Unreadable("trailing bytes")
    return value


def _msgpack(raw: bytes, at: int) -> tuple[Any, int]:  # noqa: PLR0912  one branch for each family of the format
    (head,), at = _cut(raw, at, 1), at + 1
    if head <= 0x7F:
        return head, at
    if head >= 0xE0:
        return head - 0x100, at
    if head in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[head], at
    if head in _NUMBERS:
        layout = struct.Struct(_NUMBERS[head])
        return layout.unpack(_cut(raw, at, layout.size))[0], at + layout.size
    if head <= 0x8F:
        kind, length = "map", head & 0x0F
    elif head <= 0x9F:
        kind, length = "array", head & 0x0F
    elif head <= 0xBF:
        kind, length = "text", head & 0x1F
    elif 0xD4 <= head <= 0xD8:
        kind, length = "ext", 1 << (head - 0xD4)
    elif head in _LENGTHS:
        kind, layout = _LENGTHS[head][0], struct.Struct(_LENGTHS[head][1])
        (length,), at = layout.unpack(_cut(raw, at, layout.size)), at + layout.size
    else:
        raise Unreadable("a byte that is never used")
    match kind:
        case "bytes":
            return _cut(raw, at, length), at + length
        case "text":
            content = _cut(raw, at, length)
            try:
                return content.decode(), at + length
            except UnicodeDecodeError:
                return content, at + length
        case "ext":
            content = _cut(raw, at, 1 + length)
            return Extension(int.from_bytes(content[:1], signed=True), content[1:]), at + 1 + length
        case "array":
            items = []
            for _ in range(length):
                item, at = _msgpack(raw, at)
                items.append(item)
            return items, at
    pairs: list[tuple[Any, Any]] = []
    for _ in range(length):
        key, at = _msgpack(raw, at)
        value, at = _msgpack(raw, at)
        pairs.append((key, value))
    return Pairs(pairs), at


class Pairs(list[tuple[Any, Any]]):
    """A MessagePack map, whose keys may be anything."""


def _cut(raw: bytes, at: int, length: int) -> bytes:
    if len(raw) - at < length:
        raise Unreadable("cut off")
    return raw[at : at + length]


def instants(text: str) -> set[float]:
    """Unix seconds of an RFC 3339 time, its fraction cut or rounded to microseconds. Empty if it is none.

    The colon of an offset may be left out, as ISO 8601 has it.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        return set()
    *parts, fraction, sign, hours, minutes = found.groups()
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if ahead >= timedelta(days=1) or int(minutes or 0) > 59:
        return set()
    try:
        local = datetime(*map(int, parts), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return set()
    whole, digit = divmod(int((fraction or "").ljust(7, "0")[:7]), 10)
    since = local - _EPOCH + (ahead if sign == "-" else -ahead)
    return {(since + timedelta(microseconds=more)).total_seconds() for more in {whole, whole + (digit >= 5)}}


def stamps(extension: Extension) -> set[float]:
    """Unix seconds of a MessagePack timestamp, its fraction cut or rounded to microseconds. Empty if it is none."""
    kind, content = extension
    if kind != -1 or len(content) not in (4, 8, 12):
        return set()
    if len(content) == 4:
        seconds, nanoseconds = int.from_bytes(content), 0
    elif len(content) == 8:
        nanoseconds, seconds = divmod(int.from_bytes(content), 1 << 34)
    else:
        nanoseconds, seconds = struct.unpack(">Iq", content)
    if nanoseconds > 999_999_999:
        return set()
    try:
        since = timedelta(seconds=seconds)
        times = {since + timedelta(microseconds=more) for more in {nanoseconds // 1000, -(-nanoseconds // 1000)}}
        return {(_EPOCH + time - _EPOCH).total_seconds() for time in times}  # raises for years that are none
    except OverflowError:
        return set()
