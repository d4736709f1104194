"""The short way of a look-up: what a worker has at hand it answers as soon as the request is read.

A request that goes through a task of its own, the router, the middlewares and a view takes thrice the time of the
look-up in it, and that of the core that folds. So a connection looks at each request first. Whatever is not just the
look-up of a key that is here goes the long way, and so does all that ends in an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any, TypeAlias, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11, RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from msgspec import Struct

from pipeline.edges.web.admission import PATH_BYTES, TOGETHER, Guard, Turns
from pipeline.edges.web.answers import Query
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.formats import decoded, encoded, wanted
from pipeline.edges.web.keys import keys_named
from pipeline.edges.web.known import Message, Request, Tap
from pipeline.edges.web.looks import Ask, Question
from pipeline.edges.web.reading import Reader

Tell: TypeAlias = Callable[[bytes | None], None]

_LONG = (hdrs.EXPECT, hdrs.ORIGIN, hdrs.CONTENT_ENCODING)
"""Headers that want more than an answer."""


class Manner(Struct, frozen=True):
    """How a client that may ask does so, by its header fields: what it sends, and how it wants to see the answer."""

    sends: str
    show: Callable[[object], bytes]


class Lookups:
    """Answers look-ups and read-outs of keys that this worker has."""

    def __init__(self, reader: Reader, turns: Turns, guard: Guard) -> None:
        self._reader = reader
        self._turns = turns
        self._guard = guard
        self._asks: list[Ask] = []

    def manner(self, headers: Mapping[str, str]) -> Manner | None:
        """How a client with these headers asks; None if it may not, or wants more than an answer."""
        if any(header in headers for header in _LONG) or not self._guard.admits(headers):
            return None
        return Manner(_content_type(headers), partial(_response, wanted(headers.get(hdrs.ACCEPT, ""))))

    def begin(self, request: Request[Manner], tell: Tell) -> bool:
        """Tell the whole response, at once or later; or None, if there is none to be had here.

        Returns False for a request that is no such thing.
        """
        match request.path.split("/") if len(request.path) <= PATH_BYTES else ():
            case ["", "tables", name, segment] if request.method == hdrs.METH_GET:
                asks = False
            case ["", "tables", name, segment, "read"] if request.method == hdrs.METH_POST:
                asks = True
            case _:
                return False
        manner, tables = request.manner, self._reader.declared
        if not segment or "?" in segment or "#" in segment or name not in tables:
            return False
        try:
            query = decoded(request.body, manner.sends, Query) if asks else None
            question = Question.of(tables[name], query)
        except (ValueError, RecursionError, HttpError):
            return False
        if not self._asks:
            self._answer_soon()
        self._asks.append(Ask(question, keys_named(segment), manner.show, tell))
        return True

    def _answer_soon(self) -> None:
        """Once all requests that have come are read: those that came together are answered together."""
        asyncio.get_running_loop().call_soon(self._turns.begin, self._answer)

    def _answer(self) -> None:
        asks, self._asks = self._asks[:TOGETHER], self._asks[TOGETHER:]
        if self._asks:
            self._answer_soon()
        self._reader.at_hand(asks)


class Connection(RequestHandler):
    """A connection whose look-ups take the short way."""

    def __init__(self, manager: web.Server, lookups: Lookups, **options: Any) -> None:
        super().__init__(manager, **options)
        self._lookups = lookups
        self._tap = Tap(self._parser, self._take)
        self._parser = cast(Any, self._tap)
        self._answering = self._long_way = False
        self._behind = b""

    def data_received(self, data: bytes) -> None:
        """Answers come in the order of the requests: what comes behind a look-up waits for its answer."""
        if self._answering:
            if not self._behind and self.transport is not None:
                self.transport.pause_reading()
            self._behind += data
        elif not self._waits or (request := self._tap.known(data)) is None:
            super().data_received(data)
        elif not self._begin(request, data):
            self._go_long(data)

    @property
    def _waits(self) -> bool:
        """Whether nothing is under way here, so that a look-up may be answered."""
        idle = self._waiter is not None and not self._waiter.done()
        return idle and not (self.writing_paused or self._force_close or self._close)

    def _take(self, message: RawRequestMessage, payload: StreamReader) -> tuple[list[Message], Manner | None]:
        """Begin to answer a request, if it is a look-up and nothing else is under way here."""
        simple = message.version == HttpVersion11 and not message.should_close and payload.is_eof()
        if self._long_way or not simple or not self._waits or (manner := self._lookups.manner(message.headers)) is None:
            return [(message, payload)], None
        if body := payload.read_nowait():
            payload = StreamReader(self, len(body), loop=self._loop)  # as what is read is not to be read again
            payload.feed_data(body)
            payload.feed_eof()
        if self._begin(Request(message.method, message.path, manner, body), (message, payload)):
            return [], manner
        return [(message, payload)], None

    def _begin(self, request: Request[Manner], came: bytes | Message) -> bool:
        """Begin to answer a request, which came as data or as the parser made it. Whether it is a look-up."""
        self._answering = self._request_in_progress = True
        if self._lookups.begin(request, partial(self._go_on, came)):
            return True
        self._answering = self._request_in_progress = False
        return False

    def _go_on(self, came: bytes | Message, response: bytes | None) -> None:
        """A look-up is answered, or else goes the long way now."""
        self._answering = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self.transport is None or self._parser is None:
            return  # the client is gone
        if response is None:
            self._go_long(came)
        else:
            if not isinstance(came, bytes):
                self._parser.message_consumed()
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self.transport.write(response)
        if self._behind:
            data, self._behind = self._behind, b""
            self.transport.resume_reading()
            self.data_received(data)

    def _go_long(self, came: bytes | Message) -> None:
        """Have a request handled that is no look-up, or not one that is at hand."""
        if isinstance(came, bytes):
            self._long_way = True
            super().data_received(came)
            self._long_way = False
            return
        self._messages.append(came)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Server(web.Server):
    """A server of such connections in place of ``other``."""

    def __init__(self, other: web.Server, lookups: Lookups) -> None:
        super().__init__(other.request_handler, request_factory=other.request_factory, loop=other._loop)
        self._kwargs = other._kwargs
        self._lookups = lookups

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self, self._lookups, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on such connections."""

    def __init__(self, app: web.Application, lookups: Lookups, **options: Any) -> None:
        super().__init__(app, **options)
        self._lookups = lookups

    async def _make_server(self) -> Server:
        return Server(await super()._make_server(), self._lookups)


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()


def _response(kind: str, answer: object) -> bytes:
    body = encoded(answer, kind)
    before, behind = _head(kind, int(time.time()))
    return b"%b%d%b%b" % (before, len(body), behind, body)


@lru_cache(maxsize=2)
def _head(kind: str, now: int) -> tuple[bytes, bytes]:
    """What is before the length of the body in a response, and what is behind it: as the long way has it."""
    before = f"HTTP/1.1 200 OK\r\nVary: Accept\r\nContent-Type: {kind}\r\nContent-Length: "
    behind = f"\r\nDate: {formatdate(now, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
    return before.encode(), behind.encode()
