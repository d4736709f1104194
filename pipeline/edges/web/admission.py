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

_WAIT_SECONDS = 0.04
"""For which requests wait at most for a commit that is under way."""

_REST_SECONDS = 0.015
"""After which some more begin of those who have waited for so long."""

TOGETHER = 64
"""Requests that begin together at most: some milliseconds of them."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class Turns:
    """Has the requests that come while a commit is under way begin together, as soon as it waits for the broker.

    Half of a commit is work on the event loop, and goes on for as much longer as there are requests in between; the
    other half is a wait, in which they are in nobody's way. Under a large load one commit or another is always under
    way.
    """

    def __init__(self, committing: Callable[[], bool]) -> None:
        self._committing = committing
        self._waiting: deque[Callable[[], None]] = deque()
        self._overdue: asyncio.TimerHandle | None = None

    def begin(self, work: Callable[[], None]) -> None:
        """Have ``work`` done, which may not raise, at once or when its turn comes."""
        if not self._waiting:
            if not self._committing():
                work()
                return
            self._wait(_WAIT_SECONDS)
        self._waiting.append(work)

    def lull(self) -> None:
        """Have some of those begin who wait: a commit has just asked the broker something, or the last one is over."""
        for _ in range(min(TOGETHER, len(self._waiting))):
            self._waiting.popleft()()
        if not self._waiting and self._overdue is not None:
            self._overdue.cancel()

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

    def _wait(self, seconds: float) -> None:
        self._overdue = asyncio.get_running_loop().call_later(seconds, self._end_of_patience)

    def _end_of_patience(self) -> None:
        self.lull()
        if self._waiting:
            self._wait(_REST_SECONDS)


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
