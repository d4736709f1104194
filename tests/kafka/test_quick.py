"""Look-ups that are answered as soon as they are read, and whatever else comes on the same connection."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from pipeline.edges.web.admission import TOGETHER, Guard, Turns
from pipeline.edges.web.known import Request
from pipeline.edges.web.looks import Ask
from pipeline.edges.web.quick import Lookups, Manner, Runner, Tell
from pipeline.edges.web.reading import Reader
from tests.kafka.clients import run

GET = b"GET /tables/t/%s HTTP/1.1\r\nHost: h\r\n%s\r\n"
LONG = b"Origin: o\r\n"


@dataclass
class Asked:
    """Stands where the state is: takes look-ups, each of which is answered when the test says so."""

    tells: list[Tell] = field(default_factory=list)
    requests: list[Request[Manner]] = field(default_factory=list)
    manners: int = 0

    def manner(self, headers: Mapping[str, str]) -> Manner | None:
        self.manners += 1
        return Lookups(cast(Reader, None), cast(Turns, None), Guard(None)).manner(headers)

    def begin(self, request: Request[Manner], tell: Tell) -> bool:
        if not request.path.startswith("/tables/t/"):
            return False
        self.requests.append(request)
        self.tells.append(tell)
        return True

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]

    async def come(self, number: int) -> None:
        async with asyncio.timeout(30):
            while len(self.tells) < number:  # noqa: ASYNC110 (a look-up comes by a call)
                await asyncio.sleep(0.001)


@dataclass
class Scene:
    """A server of look-ups and a page, which says what it was sent the long way, and a client of it."""

    asked: Asked
    runner: Runner
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        """The body of the next response."""
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            return await self.reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))

    async def meet(self) -> None:
        """Have the header fields known of a plain look-up."""
        self.writer.write(GET % (b"met", b""))
        await self.asked.come(1)
        self.asked.tells[0](response(b"met"))
        assert await self.answer() == b"met"


@asynccontextmanager
async def scene(**options: float) -> AsyncIterator[Scene]:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"page {request.path} {await request.text()}".strip())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    asked = Asked()
    runner = Runner(app, cast(Lookups, asked), access_log=None, shutdown_timeout=60, **options)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    try:
        yield Scene(asked, runner, reader, writer)
    finally:
        writer.close()
        await runner.cleanup()


def response(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


def played(work: Callable[[Scene], Awaitable[None]], **options: float) -> None:
    async def scenario() -> None:
        async with scene(**options) as one:
            await work(one)

    run(scenario)


def test_the_private_names_of_a_connection() -> None:
    made = inspect.getsource(RequestHandler) + inspect.getsource(web.Server) + inspect.getsource(web.AppRunner)
    for name in (
        "_waiter", "_messages", "_parser", "_request_in_progress", "_handler_waiter", "_next_keepalive_close_time",
        "_keepalive_timeout", "_force_close", "_close", "_kwargs", "_make_server",
    ):  # fmt: skip
        assert re.search(rf"\b{name}\b", made), name


@pytest.mark.parametrize("at_once", [True, False])
def test_answers_come_in_the_order_of_the_requests(at_once: bool) -> None:
    async def work(one: Scene) -> None:
        requests = [GET % (b"a", b""), GET % (b"b", LONG), GET % (b"c", b""), b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"]
        if at_once:
            one.writer.write(b"".join(requests))  # none of them comes alone: all go the long way
        for number, request in enumerate(requests if not at_once else ()):
            one.writer.write(request)
            if number == 0:
                await one.asked.come(1)
            await asyncio.sleep(0.02)
        if not at_once:
            assert len(one.asked.tells) == 1
            one.asked.tells[0](response(b"short a"))
        first = b"page /tables/t/a" if at_once else b"short a"
        assert [await one.answer() for _ in range(4)] == [
            first, b"page /tables/t/b", b"page /tables/t/c", b"page /x",
        ]  # fmt: skip
        one.writer.write(GET % (b"d", b""))
        await one.asked.come(1 if at_once else 2)
        one.asked.tells[-1](response(b"short d"))
        assert await one.answer() == b"short d"

    played(work)


def test_what_is_not_to_be_had_goes_the_long_way_with_its_body() -> None:
    async def work(one: Scene) -> None:
        one.writer.write(b"POST /tables/t/a/read HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
        await one.asked.come(1)
        assert one.asked.bodies == [b"body"]
        one.asked.tells[0](None)
        assert await one.answer() == b"page /tables/t/a/read body"
        one.writer.write(b"POST /else HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nmore")
        assert await one.answer() == b"page /else more"

    played(work)


def test_what_differs_from_one_before_in_its_key_alone_is_answered_as_that() -> None:
    async def work(one: Scene) -> None:
        post = b"POST /tables/t/%s/read HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n%s"
        for number, request in enumerate(
            (GET % (b"a", b""), post % (b"a", b"some"), GET % (b"b", b""), post % (b"b", b"body")), 1
        ):
            one.writer.write(request)
            await one.asked.come(number)
            one.asked.tells[-1](response(b"short %d" % number))
            assert await one.answer() == b"short %d" % number
        assert [asked.path for asked in one.asked.requests] == [
            "/tables/t/a", "/tables/t/a/read", "/tables/t/b", "/tables/t/b/read",
        ]  # fmt: skip
        assert one.asked.bodies == [b"", b"some", b"", b"body"]
        assert one.asked.manners == 2  # those of the others were known

    played(work)


def test_what_is_known_and_not_to_be_had_goes_the_long_way_in_its_turn() -> None:
    async def work(one: Scene) -> None:
        post = b"POST /tables/t/%s/read HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n%s"
        one.writer.write(post % (b"a", b"some"))
        await one.asked.come(1)
        one.asked.tells[0](response(b"short"))
        assert await one.answer() == b"short"
        one.writer.write(post % (b"b", b"body"))
        await one.asked.come(2)
        one.writer.write(GET % (b"c", LONG))
        await asyncio.sleep(0.02)
        one.asked.tells[1](None)
        assert [await one.answer(), await one.answer()] == [b"page /tables/t/b/read body", b"page /tables/t/c"]
        one.writer.write(post.replace(b"/t/", b"/other/") % (b"d", b"more"))
        assert await one.answer() == b"page /tables/other/d/read more"
        one.writer.write(post % (b"e", b"last"))
        await one.asked.come(3)
        one.asked.tells[2](response(b"short e"))
        assert await one.answer() == b"short e"
        assert one.asked.bodies == [b"some", b"body", b"last"]
        assert one.asked.manners == 1

    played(work)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /tables/t/a HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET /tables/t/a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
        b"GET /tables/t/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        GET % (b"a", b"Origin: o\r\n"),
        GET % (b"a", b"Expect: 100-continue\r\n"),
        GET % (b"a", b"Content-Encoding: gzip\r\n"),
    ],
)
def test_what_wants_more_than_an_answer_goes_the_long_way(request_: bytes) -> None:
    async def work(one: Scene) -> None:
        one.writer.write(request_)
        if b"100-continue" in request_:
            assert await one.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await one.answer() == b"page /tables/t/a"
        assert one.asked.tells == []

    played(work)


def test_a_body_in_two_parts_goes_the_long_way() -> None:
    async def work(one: Scene) -> None:
        one.writer.write(b"POST /tables/t/a/read HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
        await asyncio.sleep(0.02)
        one.writer.write(b"dy")
        assert await one.answer() == b"page /tables/t/a/read body"
        assert one.asked.tells == []

    played(work)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("behind", [b"", b"GET /ta"])
def test_who_hangs_up_while_it_waits_is_passed_over(behind: bytes, known: bool) -> None:
    async def work(one: Scene) -> None:
        if known:
            await one.meet()
        one.writer.write(GET % (b"a", b"") + (behind if not known else b""))
        await one.asked.come(1 + known)
        one.writer.write(behind)
        await asyncio.sleep(0.02)
        one.writer.transport.abort()
        await asyncio.sleep(0.05)
        one.asked.tells[-1](response(b"short"))
        one.asked.tells[-1](None)

    played(work)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("at_hand", [True, False])
def test_a_server_that_ends_answers_who_waits(at_hand: bool, known: bool) -> None:
    async def work(one: Scene) -> None:
        if known:
            await one.meet()
        one.writer.write(GET % (b"a", b""))
        await one.asked.come(1 + known)
        ending = asyncio.create_task(one.runner.cleanup())
        await asyncio.sleep(0.05)
        assert not ending.done()
        one.asked.tells[-1](response(b"short") if at_hand else None)
        if at_hand:
            assert await one.answer() == b"short"
        async with asyncio.timeout(30):
            await ending

    played(work)


def test_who_does_not_read_its_answers_gets_no_more_of_them() -> None:
    async def work(one: Scene) -> None:
        much = response(b"x" * 500_000)
        for number in range(1, 40):
            one.writer.write(GET % (b"a", b""))
            await asyncio.sleep(0.005)
            if len(one.asked.tells) < number:
                break
            one.asked.tells[-1](much)
        assert len(one.asked.tells) < 39

    played(work)


def test_a_connection_lasts_as_long_as_it_is_asked() -> None:
    async def work(one: Scene) -> None:
        for number in range(1, 1_001):
            one.writer.write(GET % (b"a", b""))
            await one.asked.come(number)
            one.asked.tells[-1](response(b"short"))
            assert await one.answer() == b"short"
            if number % 100 == 0:
                await asyncio.sleep(0.1)
        one.writer.write((GET % (b"b", b"")) * 2)
        assert [await one.answer(), await one.answer()] == [b"page /tables/t/b"] * 2
        assert await one.reader.read() == b""  # for it is idle now

    played(work, keepalive_timeout=0.4)


def test_requests_that_come_together_are_looked_up_together() -> None:
    """All that are read in one turn of the loop, or before a commit waits; but no more than some."""

    async def work() -> None:
        committing, looks = True, list[list[bytes]]()

        def at_hand(asks: list[Ask]) -> None:
            looks.append([key for ask in asks for key in ask.keys])

        def come(*keys: bytes) -> None:
            for key in keys:
                assert lookups.begin(Request("GET", f"/tables/t/{key.decode()}", manner, b""), told.append)

        told = list[bytes | None]()
        reader = cast(Reader, SimpleNamespace(declared={"t": SimpleNamespace(name="t")}, at_hand=at_hand))
        turns = Turns(lambda: committing)
        lookups = Lookups(reader, turns, Guard(None))
        manner = cast(Manner, lookups.manner({}))
        come(b"a", b"b")
        await asyncio.sleep(0)
        come(b"c")
        assert looks == []
        committing = False
        turns.lull()
        assert looks == [[b"a", b"b", b"c"]]
        many = [b"%d" % number for number in range(TOGETHER + 1)]
        come(*many)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert looks[1:] == [many[:-1], many[-1:]]
        assert told == []

    run(work)


@pytest.mark.parametrize(("token", "given", "admitted"), [
    (None, "", True), ("", "", True), ("x", "", False), ("x", "Bearer x", True), ("x", "Bearer y", False),
])  # fmt: skip
def test_who_shows_the_token_is_let_in(token: str | None, given: str, admitted: bool) -> None:
    assert Guard(token).admits({"Authorization": given}) is admitted
