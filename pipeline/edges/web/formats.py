"""JSON and MessagePack: what a client sends and what it wants, by its headers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from pipeline.edges.web.errors import HttpError

T = TypeVar("T")

JSON = "application/json"
MSGPACK = "application/msgpack"

_MSGPACKS = (MSGPACK, "application/vnd.msgpack", "application/x-msgpack")
"""What is not one of them is JSON, or anything that curl says of it."""


def respond(request: web.Request, body: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """The body as the client wants it: JSON, unless it prefers MessagePack. Undefined numbers are null in both."""
    kind = wanted(request.headers.get("Accept", ""))
    return web.Response(body=encoded(body, kind), status=status, content_type=kind, headers={"Vary": "Accept"})


def encoded(body: object, kind: str) -> bytes:
    """The body as this media type."""
    text = msgspec.json.encode(body)
    # JSON alone makes null of a number that is not finite.
    return text if kind == JSON else msgspec.msgpack.encode(msgspec.json.decode(text))


def wanted(accept: str) -> str:
    """The media type to answer with, of those that an Accept header names."""
    if accept in ("", JSON, "*/*"):  # what nearly everybody says
        return JSON
    weights = dict(_weights(accept))
    best = max(_MSGPACKS, key=lambda kind: weights.get(kind, 0.0))
    return best if weights.get(best, 0.0) > weights.get(JSON, 0.0) else JSON


def formats(request: web.Request) -> dict[str, str]:
    """The headers that ask another worker for the same, of a body in the same format."""
    sends = MSGPACK if request.content_type in _MSGPACKS else JSON
    return {"Accept": wanted(request.headers.get("Accept", "")), "Content-Type": sends}


async def sent(request: web.Request, kind: type[T], example: str) -> T:
    """The body of a request. Raises `HttpError` if it is not in the format that it says, or not of this kind."""
    name, decode = _codec(request.content_type)
    body = await request.read()
    try:
        decode(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"the body is not {name}: {error}", example) from error
    try:
        return decoded(body, request.content_type, kind)
    except msgspec.ValidationError as error:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the body is no {kind.__name__}: {error}", example) from error


def decoded(body: bytes, content_type: str, kind: type[T]) -> T:
    """What another worker answered. Raises ValueError if it is not of this kind."""
    answer: T = _codec(content_type)[1](body, type=kind)
    return answer


def _codec(content_type: str) -> tuple[str, Callable[..., Any]]:
    return ("MessagePack", msgspec.msgpack.decode) if content_type in _MSGPACKS else ("JSON", msgspec.json.decode)


def _weights(accept: str) -> Iterator[tuple[str, float]]:
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            yield kind, float(weight)
        except ValueError:
            continue
