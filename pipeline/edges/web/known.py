"""Requests that differ in nothing but the key from one before on the same connection: they need no parser.

Who asks again and again sends the same header fields each time, byte for byte. To parse them again, and to look through
them, would take a third of what a look-up takes of the core that folds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from aiohttp import StreamReader, hdrs
from aiohttp.http import RawRequestMessage
from msgspec import Struct

T = TypeVar("T")

Message: TypeAlias = tuple[RawRequestMessage, StreamReader]

_LINE = re.compile(rb"(GET|POST) (/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*) HTTP/1\.1")
"""A request line that nobody can read in two ways."""

_END = b"\r\n\r\n"
_KNOWN = 4
_KNOWN_BYTES = 2_048
"""How many header fields are remembered of a connection, and how long ones, at most."""


class Request(Struct, Generic[T], frozen=True):
    """A request, whose ``manner`` is all that there is to know of its header fields."""

    method: str
    path: str
    manner: T
    body: bytes


class Tap(Generic[T]):
    """A connection's parser, from which a request that comes alone is taken.

    ``take`` gives what is left of it for others, and the manner of it, if another one with the same header fields may
    pass the parser by. It may do so as a whole and while the parser stands between two requests; that is known as long
    as each piece of data was one request from its first byte to its last.
    """

    def __init__(
        self, parser: Any, take: Callable[[RawRequestMessage, StreamReader], tuple[list[Message], T | None]]
    ) -> None:
        self._parser = parser
        self._take = take
        self._between = True
        self._manners: dict[bytes, tuple[T, int]] = {}

    def known(self, data: bytes) -> Request[T] | None:
        """The request that this is, if it may pass the parser by."""
        if not (self._between and self._manners):
            return None
        line, end = _bounds(data)
        manner, length = self._manners.get(data[line:end], (None, 0))
        if manner is None or len(data) - end != length or (match := _LINE.fullmatch(data, 0, line)) is None:
            return None
        method, path = match.groups()
        return Request(method.decode(), path.decode(), manner, data[end:])

    def feed_data(self, data: bytes) -> tuple[list[Message], bool, bytes]:
        """The requests that are for others, whether another protocol begins, and the first bytes of that."""
        between, self._between = self._between, self._between and not data  # nothing: room for what waits, if it does
        messages, upgraded, tail = self._parser.feed_data(data)
        if len(messages) == 1 and not upgraded:
            self._between = between and _is_all(data, *messages[0])
            messages, manner = self._take(*messages[0])
            if manner is not None:
                self._learn(data, manner)
        return messages, upgraded, tail

    def _learn(self, data: bytes, manner: T) -> None:
        line, end = _bounds(data)
        fields = data[line:end]
        if len(fields) <= _KNOWN_BYTES:
            if len(self._manners) == _KNOWN:
                self._manners.clear()
            self._manners[fields] = manner, len(data) - end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _bounds(data: bytes) -> tuple[int, int]:
    """Where the first line of a request ends, and where its body begins."""
    line = data.find(b"\r\n")
    return line, data.find(_END, line) + len(_END)


def _is_all(data: bytes, message: RawRequestMessage, payload: StreamReader) -> bool:
    """Whether what a parser made of this, between two requests, is all that there is in it."""
    length = int(message.headers.get(hdrs.CONTENT_LENGTH, 0))
    return payload.is_eof() and len(data) - _bounds(data)[1] == length
