"""Faust's web server within bounds: who may ask, how long a request may be, and no noise from whoever sends rubbish."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
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

_TURN_SECONDS = 0.001
"""For which requests are begun in one turn of the event loop; it is some look-ups."""

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
    """Begins requests for a moment in each turn of the event loop: a commit waits for these, not for all that came."""

    def __init__(self) -> None:
        self._until: float | None = None

    @property
    def middleware(self) -> Middleware:
        """What each request goes through before all else."""

        @web.middleware
        async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self._begin()
            return await handler(request)

        return wait

    async def _begin(self) -> None:
        while self._until is not None and time.monotonic() > self._until:  # noqa: ASYNC110  a turn is what is waited for
            await asyncio.sleep(0)
        if self._until is None:
            self._until = time.monotonic() + _TURN_SECONDS
            asyncio.get_running_loop().call_soon(self._over)

    def _over(self) -> None:
        self._until = None


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
