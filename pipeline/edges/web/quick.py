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

from pipeline.edges.web.admission import PATH_BYTES, TOGETHER, Guard, Turns
from pipeline.edges.web.answers import Query
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.formats import decoded, encoded, wanted
from pipeline.edges.web.keys import keys_named
from pipeline.edges.web.looks import Ask, Question
from pipeline.edges.web.reading import Reader

Message: TypeAlias = tuple[RawRequestMessage, StreamReader]
Tell: TypeAlias = Callable[[bytes | None], None]

_HEAD = (
    "HTTP/1.1 200 OK\r\nVary: Accept\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    f"Date: {{date}}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
)
"""As the long way has it."""

_LONG = (hdrs.EXPECT, hdrs.ORIGIN, hdrs.CONTENT_ENCODING)
"""Headers that want more than an answer."""


class Lookups:
    """Answers look-ups and read-outs of keys that this worker has."""

    def __init__(self, reader: Reader, turns: Turns, guard: Guard) -> None:
        self._reader = reader
        self._turns = turns
        self._guard = guard
        self._asks: list[Ask] = []

    def begin(self, message: RawRequestMessage, body: bytes, tell: Tell) -> bool:
        """Tell the whole response, at once or later; or None, if there is none to be had here.

        Returns False for a request that is no such thing.
        """
        match message.path.split("/") if len(message.path) <= PATH_BYTES else ():
            case ["", "tables", name, segment] if message.method == hdrs.METH_GET:
                asks = False
            case ["", "tables", name, segment, "read"] if message.method == hdrs.METH_POST:
                asks = True
            case _:
                return False
        headers, tables = message.headers, self._reader.declared
        if not segment or "?" in segment or "#" in segment or name not in tables or not self._guard.admits(headers):
            return False
        try:
            query = decoded(body, _content_type(headers), Query) if asks else None
            question = Question.of(tables[name], query)
        except (ValueError, RecursionError, HttpError):
            return False
        show = partial(_response, kind=wanted(headers.get(hdrs.ACCEPT, "")))
        if not self._asks:
            self._answer_soon()
        self._asks.append(Ask(question, keys_named(segment), show, tell))
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
        self._answering = False
        self._behind = b""
        self._parser = cast(Any, _Tap(self._parser, self._take))

    def data_received(self, data: bytes) -> None:
        """Answers come in the order of the requests: what comes behind a look-up waits for its answer."""
        if not self._answering:
            super().data_received(data)
            return
        if not self._behind and self.transport is not None:
            self.transport.pause_reading()
        self._behind += data

    def _take(self, message: RawRequestMessage, payload: StreamReader) -> list[Message]:
        """Begin to answer a request, if it is a look-up and nothing else is under way here. What is left of it."""
        waits = self._waiter is not None and not self._waiter.done()
        simple = message.version == HttpVersion11 and not message.should_close and payload.is_eof()
        if self.writing_paused or not waits or not simple or any(header in message.headers for header in _LONG):
            return [(message, payload)]
        if body := payload.read_nowait():
            payload = StreamReader(self, len(body), loop=self._loop)  # as what is read is not to be read again
            payload.feed_data(body)
            payload.feed_eof()

        def tell(response: bytes | None) -> None:
            if response is None:
                self._messages.append((message, payload))
            self._go_on(response)

        self._answering = self._request_in_progress = True
        if self._lookups.begin(message, body, tell):
            return []
        self._answering = self._request_in_progress = False
        return [(message, payload)]

    def _go_on(self, response: bytes | None) -> None:
        """A look-up is answered, or else it is the first of the messages now."""
        self._answering = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self.transport is None or self._parser is None:
            return  # the client is gone
        if response is None:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        else:
            self._parser.message_consumed()
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self.transport.write(response)
        if self._behind:
            data, self._behind = self._behind, b""
            self.transport.resume_reading()
            self.data_received(data)


class _Tap:
    """A connection's parser, from which a request that comes alone is taken."""

    def __init__(self, parser: Any, take: Callable[[RawRequestMessage, StreamReader], list[Message]]) -> None:
        self._parser = parser
        self._take = take

    def feed_data(self, data: bytes) -> tuple[list[Message], bool, bytes]:
        """The requests that go the long way, whether another protocol begins, and the first bytes of that."""
        messages, upgraded, tail = self._parser.feed_data(data)
        if len(messages) == 1 and not upgraded:
            messages = self._take(*messages[0])
        return messages, upgraded, tail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


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


def _response(answer: object, kind: str) -> bytes:
    body = encoded(answer, kind)
    return _HEAD.format(kind=kind, length=len(body), date=_date(int(time.time()))).encode() + body


@lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
