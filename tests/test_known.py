"""Requests that pass a connection's parser by: it would have made the same of them, and stands where it would stand."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpVersion11, RawRequestMessage
from hypothesis import event, given
from hypothesis import strategies as st

from pipeline.edges.web.known import Message, Request, Tap

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

PATHS = [b"/t/a", b"/t/b%20c", b"/", b"/t/\xc3\xa4", b"/t/a b", b'/t/"', b"/t/a?q=1", b"//t/a", b"*", b"/t\r\nX: y"]
FIELDS = [
    b"Host: h\r\n", b"", b"Host: h\r\nAccept: a\r\n", b"Host: h\r\nContent-Length: 4\r\n",
    b"Host: h\r\nContent-Length: 0\r\n", b"Host: h\r\nTransfer-Encoding: chunked\r\n",
    b"Host: h\r\nConnection: close\r\n", b"Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Host: h\nAccept: a\r\n", b"Host: h\r\n Accept: a\r\n", b"Content-Length: 4\n\nHost: h\r\n",
]  # fmt: skip
BODIES = [b"", b"body", b"4\r\nbody\r\n0\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n", b"GET /t/a HTTP/1.1\r\n", b"bo"]

odd = st.tuples(
    st.sampled_from([b"", b"", b"", b"\r\n", b"\r\n\r\n"]),
    st.sampled_from([b"GET", b"POST", b"HEAD", b"get", b"GE"]),
    st.sampled_from([b" ", b" ", b"  "]),
    st.sampled_from(PATHS),
    st.sampled_from([b" HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b" HTTP/1.1\n"]),
    st.sampled_from(FIELDS),
    st.just(b"\r\n"),
    st.sampled_from(BODIES),
).map(b"".join)
plain = st.builds(
    lambda method, path, fields: method + path + b" HTTP/1.1\r\n" + fields + b"\r\n" + b"body" * (b": 4" in fields),
    st.sampled_from([b"GET ", b"POST "]),
    st.sampled_from(PATHS[:2]),
    st.sampled_from([FIELDS[0], FIELDS[3]]),
)
wholes = plain | odd
pieces = (
    plain
    | plain
    | plain
    | wholes
    | st.builds(lambda data, end: data[:end], wholes, st.integers(0, 80))
    | st.builds(lambda data, start: data[start:], wholes, st.integers(0, 80))
    | st.builds(bytes.__add__, wholes, wholes)
    | st.just(b"")
)


def parser(loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    return HttpRequestParser(BaseProtocol(loop), loop, 2**16, max_line_size=500)


def tapped(loop: asyncio.AbstractEventLoop) -> Tap[Fields]:
    def take(message: RawRequestMessage, payload: StreamReader) -> tuple[list[Message], Fields | None]:
        simple = message.version == HttpVersion11 and not message.should_close and payload.is_eof()
        return [(message, payload)], message.raw_headers if simple else None

    return Tap(parser(loop), take)


def fed(to: Any, data: bytes) -> list[object] | None:
    """What a parser makes of this; None if that is an error."""
    try:
        messages, upgraded, tail = to.feed_data(data)
    except HttpProcessingError:
        return None
    return [upgraded, tail, *map(told, messages)]


def told(message: Message) -> object:
    head, payload = message
    return head.method, head.path, head.version, head.raw_headers, head.should_close, head.upgrade, payload.is_eof()


@given(st.builds(list.__add__, st.lists(plain, min_size=2, max_size=6), st.lists(pieces, max_size=6)))
def test_what_passes_the_parser_by_it_would_have_made_the_same_of(pieces: list[bytes]) -> None:
    """Side by side with a parser that gets all: both agree on all that follows, too."""
    loop = asyncio.new_event_loop()
    try:
        some, every, passed = tapped(loop), parser(loop), 0
        for data in pieces:
            request = some.known(data)
            if request is None:
                made = fed(every, data)
                assert fed(some, data) == made
                if made is None:  # the connection ends
                    some, every = tapped(loop), parser(loop)
                continue
            passed += 1
            (message, payload), *more = every.feed_data(data)[0]
            assert not more
            assert request == Request(message.method, message.path, message.raw_headers, payload.read_nowait())
            assert message.version == HttpVersion11
            assert payload.is_eof()
            assert not message.should_close
        event(f"{passed} pass by")
    finally:
        loop.close()


GET = b"GET /t/%s HTTP/1.1\r\nHost: h\r\n%s\r\n"
BODY = b"Content-Length: 4\r\n"


def passing(*pieces: bytes) -> list[bool]:
    """Which of these pass the parser by, the others of which it is given."""
    loop = asyncio.new_event_loop()
    try:
        tap = tapped(loop)
        known = []
        for data in pieces:
            known.append(tap.known(data) is not None)
            if not known[-1]:
                fed(tap, data)
        return known
    finally:
        loop.close()


def test_a_request_passes_by_whose_fields_came_before() -> None:
    first, other = GET % (b"a", b""), GET % (b"b", b"")
    assert passing(first, first, other, other.replace(b"GET", b"POST")) == [False, True, True, True]
    assert passing(first, GET % (b"a", b"Accept: x\r\n"), GET % (b"b", b"Accept: x\r\n")) == [False, False, True]
    assert passing(first, other.replace(b"Host: h", b"Host: i")) == [False, False]
    assert passing(first, other.replace(b"GET", b"HEAD"), other) == [False, False, True]
    assert passing(first, other.replace(b"1.1", b"1.0"), other) == [False, False, True]
    assert passing(first, other.replace(b"/b", b"/b c")) == [False, False]


def test_a_body_is_as_long_as_that_before() -> None:
    first = GET % (b"a", BODY) + b"body"
    assert passing(first, first.replace(b"body", b"ydob")) == [False, True]
    assert passing(first, first + b"G", b"ET", first[3:], first) == [False] * 5
    assert passing(first, first[:-1], b"y", first) == [False, False, False, False]


def test_nobody_passes_by_a_parser_in_the_midst_of_something() -> None:
    one = GET % (b"a", b"")
    assert passing(one, one + one, one) == [False, False, False]
    assert passing(one, one + b"GET /t/b HTTP/1.1\r\nX: ", one) == [False, False, False]
    assert passing(one, b"", one) == [False, False, True]
    assert passing(one, one[:9], b"", one[9:], one) == [False] * 5
    chunked = GET % (b"a", b"Transfer-Encoding: chunked\r\n")
    assert passing(one, chunked, one) == [False, False, False]
    assert passing(chunked + b"0\r\n\r\n", chunked + b"0\r\n\r\n", one, one) == [False] * 4


def test_no_more_than_some_fields_are_remembered() -> None:
    many = [GET % (b"a", b"N: %d\r\n" % number) for number in range(6)]
    assert passing(*many, many[0], many[4]) == [False] * 7 + [True]
    long = GET % (b"a", b"N: " + b"x" * 3_000 + b"\r\n")
    assert passing(long, long) == [False, False]
