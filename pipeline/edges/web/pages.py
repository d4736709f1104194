"""The pages of a worker's web server, as Faust's views."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from aiohttp import web
from faust.web import View
from msgspec import Meta
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.core.config.model import Table
from pipeline.edges.web import answers
from pipeline.edges.web.assets import ASSETS
from pipeline.edges.web.cursor import PATTERN, Cursor
from pipeline.edges.web.errors import Absent, HttpError
from pipeline.edges.web.formats import JSON, formats, respond, sent
from pipeline.edges.web.live import Live
from pipeline.edges.web.openapi import Operation, Parameter, document
from pipeline.edges.web.peers import LOCAL, Question
from pipeline.edges.web.proxy import Listing, passed_on
from pipeline.edges.web.reading import Reader

if TYPE_CHECKING:
    from pipeline.edges.host.app import FaustApp

REQUEST_BYTES = 1024 * 1024
"""Longest body of a request: a query vector of some 50,000 numbers."""

_LISTED = 100
_MOST_LISTED = 10_000
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)

_TABLE = Parameter("table", "A table of the configuration.", place="path")
_KEY = Parameter("key", "A key, percent-encoded; one that is not text by its bytes, or as `base64:...`.", place="path")
_LOCAL = Parameter(LOCAL, "Whatever it says: ask this worker alone.", place="header")
_LISTING = (
    Parameter("prefix", "What the keys begin with.", Annotated[str, Meta(extra_json_schema={"default": ""})]),
    Parameter(
        "limit",
        "How many of them at most.",
        Annotated[int, Meta(ge=0, le=_MOST_LISTED, extra_json_schema={"default": _LISTED})],
    ),
    Parameter("cursor", "Where to go on, as a link of a page before says.", Annotated[str, Meta(pattern=PATTERN)]),
)
_ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE)
_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class _Page(View):
    @property
    def host(self) -> FaustApp:
        return cast("FaustApp", self.app)

    @property
    def reader(self) -> Reader:
        return Reader(self.host.plane)

    async def told(self, request: web.Request, table: Table, answer: Awaitable[object]) -> web.Response:
        """What this worker answers, or another one that has what it lacks."""
        try:
            return respond(request, await answer)
        except Absent as own:
            if LOCAL in request.headers:
                raise
            body = await request.read() if request.body_exists else None
            question = Question(request.rel_url.raw_path, body=body, headers=formats(request))
            reply = await passed_on(self.host.peers, table, own, question)
            return web.Response(body=reply.body, status=reply.status, content_type=reply.content_type)


class Livez(_Page):
    """Whether the process answers at all."""

    @Operation(answers.Live, open=True)
    async def get(self, request: web.Request) -> web.Response:
        """Always 200: who is alive enough to run this is alive."""
        return respond(request, {"live": True})


class Readyz(_Page):
    """Whether every partition of this worker takes events."""

    @Operation(answers.Ready, unready=answers.Ready, open=True)
    async def get(self, request: web.Request) -> web.Response:
        """200, or 503 with the reasons."""
        watch = self.host.plane.watch
        reasons = ["starting"] if watch is None else watch.reasons()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return respond(request, {"ready": not reasons, "reasons": reasons}, status)


class Metrics(_Page):
    """For Prometheus."""

    @Operation(str, media=("text/plain",))
    async def get(self, request: web.Request) -> web.Response:
        """The registry as text, its gauges as they are at this moment."""
        if (watch := self.host.plane.watch) is not None:
            watch.measure()
        return web.Response(body=self.host.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class OpenApi(_Page):
    """This interface, as a document for programs."""

    @Operation(dict[str, Any], media=(JSON,))
    async def get(self, request: web.Request) -> web.Response:
        """OpenAPI 3.1, the same on every worker."""
        return web.Response(body=msgspec.json.encode(document(PAGES)), content_type=JSON)


class Tables(_Page):
    """All tables."""

    @Operation(answers.Tables)
    async def get(self, request: web.Request) -> web.Response:
        """Each table in short, with the partitions that this worker has."""
        return respond(request, {"tables": self.reader.tables()})


class Keys(_Page):
    """One table and its keys."""

    @Operation(answers.Page, (_TABLE, *_LISTING, _LOCAL), problems=(HTTPStatus.BAD_REQUEST, *_ABSENT))
    async def get(self, request: web.Request, table: str) -> web.Response:
        """The table in short, and keys of all workers, in no order that means anything.

        A page may hold fewer keys than asked for: follow `next` until it is null. A key that is there all the time is
        listed once, unless its partition goes to another worker meanwhile: then some may come twice, or not at all.
        """
        limit, at = _limit(request), _cursor(request)
        peers = None if LOCAL in request.headers else self.host.peers
        listing = Listing(self.reader, peers, self.reader.table(table), request.query.get("prefix", ""))
        return respond(request, await listing.page(at, limit))


class Key(_Page):
    """One key of a table."""

    @Operation(answers.Entry, (_TABLE, _KEY, _LOCAL), problems=_ABSENT)
    async def get(self, request: web.Request, table: str, key: str) -> web.Response:
        """Its latest output record, its memory, and up to which offset it is committed, whichever worker has it."""
        found = self.reader.table(table)
        return await self.told(request, found, self.reader.entry(found, _segment(request, 3)))


class Read(_Page):
    """The memory of a key, asked a question."""

    @Operation(answers.Readout, (_TABLE, _KEY, _LOCAL), body=answers.Query, problems=(*_REFUSED, *_ABSENT))
    async def post(self, request: web.Request, table: str, key: str) -> web.Response:
        """The read-out of one operator for a query, whichever worker has the key."""
        found, query = self.reader.table(table), await sent(request, answers.Query, _QUERY)
        return await self.told(request, found, self.reader.readout(found, _segment(request, 3), query))


_QUERY = 'send {"operator": "NAME", "query": [NUMBER, ...]}'

PAGES: Mapping[str, type[View]] = {
    **ASSETS,
    "/live": Live,
    "/livez": Livez,
    "/readyz": Readyz,
    "/metrics": Metrics,
    "/openapi.json": OpenApi,
    "/tables": Tables,
    "/tables/{table}": Keys,
    "/tables/{table}/{key:[^/]+}": Key,
    "/tables/{table}/{key:[^/]+}/read": Read,
}


def _segment(request: web.Request, number: int) -> str:
    """A segment of the path as it was sent: the router's own decoding makes no difference between ``%2F`` and ``/``."""
    return request.rel_url.raw_path.split("/")[number]


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_LISTED))
    if not _NUMBER.fullmatch(text) or int(text) > _MOST_LISTED:
        expected = f"limit takes a whole number from 0 to {_MOST_LISTED}"
        raise HttpError(HTTPStatus.BAD_REQUEST, f"limit is {text!r:.60}", expected)
    return int(text)


def _cursor(request: web.Request) -> Cursor:
    text = request.query.get("cursor")
    if text is None:
        return Cursor()
    if (cursor := Cursor.parse(text)) is None:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"cursor is {text!r:.60}", "follow the link `next` of a page")
    return cursor
