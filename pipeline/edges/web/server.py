"""Faust's web server within bounds: who may ask, how long a request may be, and no noise from whoever sends rubbish."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from faust.web.drivers.aiohttp import Web
from mode.utils.logging import get_logger

from pipeline.core.secret import masked
from pipeline.edges.web.admission import PATH_BYTES, Handler
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.formats import respond
from pipeline.edges.web.quick import Lookups, Runner

if TYPE_CHECKING:
    from faust.types import AppT

_LINE_BYTES = PATH_BYTES + 4096
"""What is longer is not even read to its end. In between is what gets a polite answer."""

_MENDS = {
    HTTPStatus.NOT_FOUND: "GET /openapi.json tells what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "see the header Allow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send a shorter body",
}

_AGAIN_SECONDS = 1
"""After which it is worth asking again what was not there yet."""

log = logging.getLogger(__name__)

# The server's own words on a request that is no HTTP are a traceback each, and anyone may send such requests.
_QUIET = logging.getLogger("pipeline.edges.web.rubbish")
_QUIET.setLevel(logging.CRITICAL)


class BoundedWeb(Web):
    """Faust's server, with our bounds on what is read of a request, and a short way for look-ups."""

    logger = get_logger("faust.web")

    def __init__(self, app: AppT, lookups: Lookups, **options: Any) -> None:
        super().__init__(app, **options)
        self._runner = Runner(self.web_app, lookups, access_log=None, logger=_QUIET, max_line_size=_LINE_BYTES)


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
