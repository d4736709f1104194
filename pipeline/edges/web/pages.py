"""The pages of a worker's web server, as Faust's views."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import msgspec
from aiohttp import web
from faust.web import View
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.edges.web.assets import ASSETS
from pipeline.edges.web.errors import HttpError, json_response
from pipeline.edges.web.live import Live
from pipeline.edges.web.reading import Query, Reader

if TYPE_CHECKING:
    from pipeline.edges.host.app import FaustApp

REQUEST_BYTES = 1024 * 1024
"""Longest body of a request: a query vector of some 50,000 numbers."""

_LISTED = 100
_MOST_LISTED = 10_000
_MOST_DIGITS = 15


class _Page(View):
    @property
    def host(self) -> FaustApp:
        return cast("FaustApp", self.app)

    @property
    def reader(self) -> Reader:
        return Reader(self.host.plane)


class Livez(_Page):
    """Whether the process answers at all."""

    async def get(self, request: web.Request) -> web.Response:
        """Always 200: who is alive enough to run this is alive."""
        return json_response({"live": True})


class Readyz(_Page):
    """Whether every partition of this worker takes events."""

    async def get(self, request: web.Request) -> web.Response:
        """200, or 503 with the reasons."""
        watch = self.host.plane.watch
        reasons = ["starting"] if watch is None else watch.reasons()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return json_response({"ready": not reasons, "reasons": reasons}, status)


class MetricsPage(_Page):
    """For Prometheus."""

    async def get(self, request: web.Request) -> web.Response:
        """The registry as text, its gauges as they are at this moment."""
        if (watch := self.host.plane.watch) is not None:
            watch.measure()
        return web.Response(body=self.host.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Tables(_Page):
    """All tables."""

    async def get(self, request: web.Request) -> web.Response:
        """Each table in short."""
        return json_response({"tables": self.reader.tables()})


class TablePage(_Page):
    """One table."""

    async def get(self, request: web.Request, table: str) -> web.Response:
        """In short, with ``limit`` of its keys from ``offset`` on, those that begin with ``prefix``."""
        prefix = request.query.get("prefix", "").encode()
        offset, limit = _number(request, "offset", 0), min(_number(request, "limit", _LISTED), _MOST_LISTED)
        return json_response(await self.reader.table(table, prefix, offset, limit))


class Key(_Page):
    """One key of a table."""

    async def get(self, request: web.Request, table: str, key: str) -> web.Response:
        """Its latest output record, its memory, and up to which offset it is committed."""
        return json_response(await self.reader.entry(table, _segment(request, 3)))


class Read(_Page):
    """The memory of a key, asked a question."""

    async def post(self, request: web.Request, table: str, key: str) -> web.Response:
        """The read-out of one operator for a query."""
        body = await request.read()
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}", _READ) from error
        try:
            query = msgspec.json.decode(body, type=Query)
        except msgspec.ValidationError as error:
            raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the body is no read: {error}", _READ) from error
        return json_response(await self.reader.readout(table, _segment(request, 3), query))


_READ = 'send {"operator": "NAME", "query": [NUMBER, ...]}'

PAGES: Mapping[str, type[View]] = {
    **ASSETS,
    "/live": Live,
    "/livez": Livez,
    "/readyz": Readyz,
    "/metrics": MetricsPage,
    "/tables": Tables,
    "/tables/{table}": TablePage,
    "/tables/{table}/{key:[^/]+}": Key,
    "/tables/{table}/{key:[^/]+}/read": Read,
}


def _segment(request: web.Request, number: int) -> str:
    """A segment of the path as it was sent: the router's own decoding makes no difference between ``%2F`` and ``/``."""
    return request.rel_url.raw_path.split("/")[number]


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        expected = f"{name} takes a whole number from 0, of at most {_MOST_DIGITS} digits"
        raise HttpError(HTTPStatus.BAD_REQUEST, f"{name} is {text!r:.60}", expected)
    return int(text)
