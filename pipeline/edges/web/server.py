"""Faust's web server within bounds: who may ask, how long a request may be, and no noise from whoever sends rubbish."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from faust.web.drivers.aiohttp import Web
from mode.utils.logging import get_logger

from pipeline.core.decode import MAX_KEY_BYTES
from pipeline.edges.web.assets import ASSETS
from pipeline.edges.web.errors import HttpError, json_response

if TYPE_CHECKING:
    from faust.types import AppT

PATH_BYTES = 3 * MAX_KEY_BYTES + 1024
"""Longest path: that of the longest key with each of its bytes percent-encoded, and the table's name."""

_LINE_BYTES = PATH_BYTES + 4096
"""What is longer is not even read to its end. In between is what gets a polite answer."""

_OPEN = frozenset({"/livez", "/readyz", *ASSETS})
"""What whoever keeps a process alive asks, and the page that asks for the token: nothing of what is folded is told."""

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
async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a path that no key can have."""
    if len(request.raw_path) > PATH_BYTES:
        raise HttpError(
            HTTPStatus.REQUEST_URI_TOO_LONG,
            f"the path has {len(request.raw_path)} bytes",
            f"send at most {PATH_BYTES}: no key is longer than {MAX_KEY_BYTES} bytes",
        )
    return await handler(request)


def one_a_turn() -> Middleware:
    """Begin one request in each turn of the event loop: a commit waits for one of them, not for all that came."""
    turn = asyncio.Lock()

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with turn:
            await asyncio.sleep(0)
        return await handler(request)

    return wait


def bearer(token: str) -> Middleware:
    """Answer those alone who show the token. How long the comparison takes says nothing of how much was right."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path in _OPEN or hmac.compare_digest(given, expected):
            return await handler(request)
        said = {"error": "this worker asks for a token", "mend": 'send the header "Authorization: Bearer TOKEN"'}
        refusal = json_response(said, HTTPStatus.UNAUTHORIZED)
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    return guard
