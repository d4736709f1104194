"""How a worker serves those who are connected to ``/live``: what a commit costs them, and what they can do to it.

The plane is not started, so commits are told as its tasks tell them; the connections are real.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientPayloadError, ClientResponseError, ClientSession, web
from aiokafka import TopicPartition

from operators import Count
from pipeline import App, Stream, Table
from pipeline.core.partition import Cut
from pipeline.core.table import Append, Counts
from pipeline.edges.host.app import FaustApp
from pipeline.edges.web import live
from pipeline.edges.web.board import RECORD_BYTES, SHOWN, Board
from tests.kafka.pipelines import until
from tests.kafka.process import free_ports

TP = TopicPartition("scores", 0)
PATIENCE = 40.0


def commit(host: FaustApp, size: int = 10) -> None:
    """Tell of a commit with a record of so many bytes for each of a few keys."""
    keys: list[bytes | None] = [f"k{n}".encode() for n in range(SHOWN)]
    values: list[bytes | None] = [b'{"key":"%s","x":"%s"}' % (key, b"x" * size) for key in keys if key]
    cut = Cut(0, [Append("live-player", 0, keys, values)], Counts(), 0)
    for listener in host.plane.listeners:
        listener(TP, cut)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[FaustApp, str]]:
    """A host whose feed is served; its address."""
    table = Table("player", stream=Stream("scores", topic="scores"), operators={"games": Count()})
    host = FaustApp(App("live", tables=[table], http=f"127.0.0.1:{free_ports()}"))
    app = web.Application()
    app.router.add_get("/live", host.feed.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", host.address.port)
    await site.start()
    try:
        yield host, f"http://127.0.0.1:{host.address.port}/live"
    finally:
        host.feed.close()
        await runner.cleanup()


def scenario(work: Callable[[FaustApp, str], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE), served() as (host, address):
            await work(host, address)

    asyncio.run(bounded())


def test_nobody_is_told_of_commits_while_nobody_is_connected() -> None:
    async def work(host: FaustApp, address: str) -> None:
        assert host.plane.listeners == []
        async with ClientSession() as client:
            async with client.get(address), client.get(address):
                assert len(host.plane.listeners) == 1
            await until(lambda: host.plane.listeners == [], "nobody is connected")
            async with client.get(address) as stream:
                commit(host)
                async for line in stream.content:
                    if b'"k0"' in line:
                        break

    scenario(work)


def test_a_client_that_reads_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the kernel takes nothing more for it, frames are left out: what is kept for it stays as it is."""
    monkeypatch.setattr(live, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(live, "FRAME_SECONDS", 0.001)

    async def work(host: FaustApp, address: str) -> None:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", host.address.port))
            await loop.sock_sendall(lazy, b"GET /live HTTP/1.1\r\nHost: h\r\n\r\n")
            await until(lambda: len(host.plane.listeners) == 1, "it is connected")
            while host.plane.listeners:
                commit(host, RECORD_BYTES - 100)
                await asyncio.sleep(0.002)

    scenario(work)


def test_a_page_that_fails_costs_no_commit(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(Board, "committed", fail)

    async def work(host: FaustApp, address: str) -> None:
        async with ClientSession() as client, client.get(address):
            with caplog.at_level(logging.CRITICAL + 1):
                commit(host)

    scenario(work)


def test_a_worker_that_stops_waits_for_no_page() -> None:
    async def work(host: FaustApp, address: str) -> None:
        async with ClientSession() as client:
            async with client.get(address) as stream:
                host.feed.close()
                with pytest.raises(ClientPayloadError):
                    await stream.content.read()
            await until(lambda: host.plane.listeners == [], "nobody is connected")
            with pytest.raises(ClientResponseError):
                await client.get(address, raise_for_status=True)

    scenario(work)
