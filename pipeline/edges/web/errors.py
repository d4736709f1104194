"""What HTTP answers when it can't answer: a status, one line of cause, one of mend, as JSON."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
from aiohttp import web

from pipeline.core.secret import masked

log = logging.getLogger(__name__)

_MENDS = {
    HTTPStatus.NOT_FOUND: "GET / lists what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "see the header Allow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send a shorter body",
}


class HttpError(Exception):
    """An answer that is no success; ``more`` are further fields of its JSON."""

    def __init__(self, status: HTTPStatus, error: str, mend: str, **more: object) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "mend": mend, **more}


@web.middleware
async def as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give every error the same shape, those of the web server too."""
    try:
        return await handler(request)
    except HttpError as error:
        return json_response(error.body, error.status)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        status = HTTPStatus(error.status)
        response = json_response({"error": status.phrase.lower(), "mend": _MENDS.get(status, "")}, status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return json_response(
            {"error": masked(f"{type(error).__name__}: {error}"), "mend": "see the worker's log"},
            HTTPStatus.INTERNAL_SERVER_ERROR,
        )


def json_response(body: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """JSON in which undefined numbers are null."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
