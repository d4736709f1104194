"""How a worker finds the others of its group, and asks them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from pipeline import App
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.metrics import Metrics
from pipeline.edges.web import peers
from pipeline.edges.web.address import Address
from pipeline.edges.web.peers import Peers, Question
from tests.kafka.pipelines import Site, running, scenario, until

TOKEN = "the-token-of-these-tests"


def named(client: str) -> type[Plane]:
    """A plane that calls itself so in the group."""

    class Named(Plane):
        def __init__(self, app: App, metrics: Metrics) -> None:
            super().__init__(app, metrics)
            self.settings = replace(self.settings, client_id=client)

    return Named


def test_the_others_are_those_whom_the_group_names_and_kafka_is_asked_rarely(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(kafka, topic_prefix, partitions=3)
    questions = list[object]()
    original = Admin.ask

    def counted(admin: Admin, question: Callable[[Any], Any]) -> Any:
        questions.append(question)
        return original(admin, question)

    async def work() -> None:
        app = site.app()
        async with (
            running(app, named("streamfold@host-a:1")) as first,
            running(app, named("streamfold@host-b:2")) as second,
            running(app, named("streamfold@no-port")) as third,
        ):
            planes = (first, second, third)
            await until(
                lambda: all(len(p.tasks) == 1 and all(t.ready for t in p.tasks.values()) for p in planes), "one each"
            )
            monkeypatch.setattr(Admin, "ask", counted)
            monkeypatch.setattr(peers, "_FRESH_SECONDS", 60.0)
            asking, other = Peers(first), Address("host-b", 2)
            for plane in (second, first, third):
                (tp,) = plane.tasks
                assert await asking.holding(tp.topic, {tp.partition}) == [other]
            assert await asking.holding(site.source, {0, 1, 2}) == [other]
            assert await asking.others() == ["host-b:2"]
            assert len(questions) == 1
            await asking.close()
            assert await asking.others() == []

    scenario(work)


def test_who_says_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_ANSWER_SECONDS", 0.2)

    async def work() -> None:
        asking = Peers(Plane(App("app", tables=[]), Metrics()))
        with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            addresses = [Address("127.0.0.1", server.getsockname()[1]) for server in (silent, closed)]
            assert await asking.ask(addresses, Question("/livez")) == dict.fromkeys(addresses)
        await asking.close()

    asyncio.run(work())


def test_a_redirection_is_not_followed_with_the_token() -> None:
    shown = list[tuple[str, str | None]]()

    async def elsewhere(request: web.Request) -> web.Response:
        shown.append((request.path, request.headers.get("Authorization")))
        return web.Response(status=302, headers={"Location": "/thief"})

    async def work() -> None:
        asking = Peers(Plane(App("app", tables=[], http_token=TOKEN), Metrics()))
        async with RawTestServer(elsewhere) as server:  # type: ignore[arg-type] # a request all the same
            peer = Address("127.0.0.1", server.port or 0)
            reply = (await asking.ask([peer], Question("/tables/a")))[peer]
        await asking.close()
        assert reply is not None
        assert reply.status == 302

    asyncio.run(work())
    assert shown == [("/tables/a", f"Bearer {TOKEN}")]
