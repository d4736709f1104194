"""Faust's web server within bounds: who may ask, how long a request may be, and no noise from whoever sends rubbish."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from faust.web.drivers.aiohttp import Web
from mode.utils.logging import get_logger

from pipeline.core.decode import MAX_KEY_BYTES
from pipeline.core.secret import masked
from pipeline.edges.web.assets import ASSETS
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.formats import respond

if TYPE_CHECKING:
    from faust.types import AppT

PATH_BYTES = 3 * MAX_KEY_BYTES + 1024
"""Longest path: that of the longest key with each of its bytes percent-encoded, and the table's name."""

_LINE_BYTES = PATH_BYTES + 4096
"""What is longer is not even read to its end. In between is what gets a polite answer."""

_OPEN = frozenset({"/livez", "/readyz", *ASSETS})
"""What whoever keeps a process alive asks, and the page that asks for the token: nothing of what is folded is told."""

_MENDS = {
    HTTPStatus.NOT_FOUND: "GET /openapi.json tells what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "see the header Allow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send a shorter body",
}

_WAIT_SECONDS = 0.003
"""For which requests wait while a commit is under way."""

_TOGETHER = 16
"""Requests that begin together at most: some milliseconds of them."""

_AGAIN_SECONDS = 1
"""After which it is worth asking again what was not there yet."""

log = logging.getLogger(__name__)

# The server's own words on a request that is no HTTP are a traceback each, and anyone may send such requests.
_QUIET = logging.getLogger("pipeline.edges.web.rubbish")
_QUIET.setLevel(logging.CRITICAL)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class BoundedWeb(Web):
    """Faust's server, with our bounds on what is read of a request."""

    logger = get_logger("faust.web")

    def __init__(self, app: AppT, **options: Any) -> None:
        super().__init__(app, **options)
        self._runner = web.AppRunner(self.web_app, access_log=None, logger=_QUIET, max_line_size=_LINE_BYTES)


@web.middleware
async def explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every error the same shape, those of the web server too."""
    try:
        return await handler(request)
    except HttpError as error:
        response = respond(request, error.problem, error.status)
        if error.status is HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = str(_AGAIN_SECONDS)
        return response
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        status = HTTPStatus(error.status)
        response = respond(request, {"error": status.phrase.lower(), "mend": _MENDS.get(status, "")}, status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        said = {"error": masked(f"{type(error).__name__}: {error}"), "mend": "see the worker's log"}
        return respond(request, said, HTTPStatus.INTERNAL_SERVER_ERROR)


@web.middleware
async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a path that no key can have."""
    if len(request.raw_path) > PATH_BYTES:
        raise HttpError(
            HTTPStatus.REQUEST_URI_TOO_LONG,
            f"the path has {len(request.raw_path)} bytes",
            f"send at most {PATH_BYTES}: no key is longer than {MAX_KEY_BYTES} bytes",
        )
    return await handler(request)


class Turns:
    """Has the requests that come while a commit is under way begin together, some milliseconds later.

    A commit takes some twenty turns of the event loop. If requests began in each of them, the commit would wait for all
    of them; so most of its turns are its own.
    """

    def __init__(self, committing: Callable[[], bool]) -> None:
        self._committing = committing
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def middleware(self) -> Middleware:
        """What each request goes through before all else."""

        @web.middleware
        async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._waiting or self._committing():
                await self._turn()
            return await handler(request)

        return wait

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            loop.call_later(_WAIT_SECONDS, self._begin)
        self._waiting.append(turn)
        await turn

    def _begin(self) -> None:
        for _ in range(min(_TOGETHER, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():  # else its client is gone
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_later(_WAIT_SECONDS, self._begin)


def bearer(token: str) -> Middleware:
    """Answer those alone who show the token. How long the comparison takes says nothing of how much was right."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path in _OPEN or hmac.compare_digest(given, expected):
            return await handler(request)
        said = {"error": "this worker asks for a token", "mend": 'send the header "Authorization: Bearer TOKEN"'}
        refusal = respond(request, said, HTTPStatus.UNAUTHORIZED)
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    return guard
