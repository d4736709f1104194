"""Which requests are let in, and when: not too long, by whoever shows the token, and so that commits go on."""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from pipeline.core.decode import MAX_KEY_BYTES
from pipeline.edges.web.assets import ASSETS
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.formats import respond

PATH_BYTES = 3 * MAX_KEY_BYTES + 1024
"""Longest path: that of the longest key with each of its bytes percent-encoded, and the table's name."""

_OPEN = frozenset({"/livez", "/readyz", *ASSETS})
"""What whoever keeps a process alive asks, and the page that asks for the token: nothing of what is folded is told."""

_WAIT_SECONDS = 0.015
"""For which requests wait at most while a commit is under way."""

_LOOK_SECONDS = 0.003
"""After which they look again whether it still is."""

TOGETHER = 64
"""Requests that begin together at most: some milliseconds of them."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class Turns:
    """Has the requests that come while a commit is under way begin together, when it is over or some time has gone by.

    A commit takes some twenty turns of the event loop. If requests began in each of them, the commit would wait for all
    of them; so most of its turns are its own. Under a large load one commit or another is always under way.
    """

    def __init__(self, committing: Callable[[], bool]) -> None:
        self._committing = committing
        self._waiting: deque[Callable[[], None]] = deque()
        self._latest = 0.0

    def begin(self, work: Callable[[], None]) -> None:
        """Have ``work`` done, which may not raise, at once or when its turn comes."""
        if not self._waiting:
            if not self._committing():
                work()
                return
            self._look_later()
        self._waiting.append(work)

    @property
    def middleware(self) -> Middleware:
        """What each request goes through before all else."""

        @web.middleware
        async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._waiting or self._committing():
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self.begin(lambda: None if turn.done() else turn.set_result(None))  # done: its client is gone
                await turn
            return await handler(request)

        return wait

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._latest = loop.time() + _WAIT_SECONDS
        loop.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if self._committing() and loop.time() < self._latest:
            loop.call_later(_LOOK_SECONDS, self._look)
            return
        for _ in range(min(TOGETHER, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            self._look_later()


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


class Guard:
    """Knows those who may ask by the token that they show.

    How long the comparison takes says nothing of how much was right.
    """

    def __init__(self, token: str | None) -> None:
        self._expected = f"Bearer {token}".encode() if token else None

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers may be answered."""
        given = headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return self._expected is None or hmac.compare_digest(given, self._expected)

    @property
    def middleware(self) -> Middleware:
        """Refuses all others, but for what anybody may ask."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path in _OPEN or self.admits(request.headers):
                return await handler(request)
            said = {"error": "this worker asks for a token", "mend": 'send the header "Authorization: Bearer TOKEN"'}
            refusal = respond(request, said, HTTPStatus.UNAUTHORIZED)
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal

        return guard
