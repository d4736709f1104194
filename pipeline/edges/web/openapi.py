"""The OpenAPI document of what a worker serves, made from its pages and from the types of what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from inspect import cleandoc, getdoc
from typing import Any, Literal, TypeVar, cast

import msgspec

from pipeline.edges.web.answers import Problem
from pipeline.edges.web.formats import JSON, MSGPACK
from pipeline.version import VERSION

F = TypeVar("F", bound=Callable[..., Any])

_METHODS = ("get", "post")
_INFO = {
    "title": "streamfold",
    "version": VERSION,
    "description": "Tables of running averages and memories, asked of any worker of a pipeline.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
_BEARER = {"type": "http", "scheme": "bearer", "description": "`http_token` of the configuration, if it has one."}
_PROBLEMS = {
    HTTPStatus.BAD_REQUEST: "A parameter or the body can't be read.",
    HTTPStatus.UNAUTHORIZED: "Without the token that the configuration asks for.",
    HTTPStatus.NOT_FOUND: "No such table, operator or key.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The path is longer than that of any key.",
    HTTPStatus.MISDIRECTED_REQUEST: "Only this worker was asked, and it does not have the partitions of the table.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The operator does not take this query.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Partitions are being restored, or are on their way to another worker.",
}
"""What each status means, wherever it is answered."""


@dataclass(frozen=True)
class Parameter:
    """A part of a path, of its query, or a header."""

    name: str
    about: str
    kind: object = str
    place: Literal["path", "query", "header"] = "query"


@dataclass(frozen=True)
class Operation:
    """What one method of a page takes and answers: its type, in ``media`` of these kinds.

    ``unready`` is what it answers with 503, where that is no `Problem`.
    """

    answer: object
    parameters: tuple[Parameter, ...] = ()
    body: object = None
    problems: tuple[HTTPStatus, ...] = ()
    media: tuple[str, ...] = (JSON, MSGPACK)
    unready: object = None
    open: bool = False

    def __call__(self, method: F) -> F:
        """Mark a page's method as this operation."""
        cast("Any", method).operation = self
        return method


@dataclass(frozen=True)
class Described:
    """An operation where it is served."""

    path: str
    method: str
    page: type
    operation: Operation


def described(pages: Mapping[str, type]) -> Iterator[Described]:
    """The operations of all pages: those for people have none."""
    for path, page in pages.items():
        for method in _METHODS:
            operation = getattr(getattr(page, method), "operation", None)
            if operation is not None:
                yield Described(path.replace(":[^/]+", ""), method, page, operation)


def document(pages: Mapping[str, type]) -> dict[str, Any]:
    """The document, of OpenAPI 3.1."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for one in described(pages):
        paths.setdefault(one.path, {})[one.method] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": {"bearer": _BEARER}},
    }


@dataclass
class _Schemas:
    """Schemas of types, those that have a name by reference."""

    components: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: object) -> dict[str, Any]:
        (schema,), components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        for name, component in components.items():
            self.components[name] = component | {"description": cleandoc(component["description"])}
        return schema


def _operation(one: Described, schemas: _Schemas) -> dict[str, Any]:
    operation, method = one.operation, getattr(one.page, one.method)
    made: dict[str, Any] = {
        "operationId": f"{one.method}{one.page.__name__}",
        "summary": getdoc(one.page),
        "description": getdoc(method),
        "security": [{}] if operation.open else [{"bearer": []}, {}],
        "parameters": [_parameter(parameter, schemas) for parameter in operation.parameters],
    }
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": _content(operation.body, (JSON, MSGPACK), schemas)}
    answers = {HTTPStatus.OK: ("The answer.", operation.answer, operation.media)}
    if operation.unready is not None:
        answers[HTTPStatus.SERVICE_UNAVAILABLE] = ("Not ready.", operation.unready, operation.media)
    usual = (
        (HTTPStatus.REQUEST_URI_TOO_LONG,)
        if operation.open
        else (HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_URI_TOO_LONG)
    )
    for status in (*usual, *operation.problems):
        answers[status] = (_PROBLEMS[status], Problem, (JSON, MSGPACK))
    made["responses"] = {
        str(int(status)): {"description": about, "content": _content(kind, media, schemas)}
        for status, (about, kind, media) in sorted(answers.items())
    }
    if HTTPStatus.SERVICE_UNAVAILABLE in operation.problems:
        made["responses"]["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "required": True}}
    return made


def _parameter(parameter: Parameter, schemas: _Schemas) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.about,
        "schema": schemas.of(parameter.kind),
    }


def _content(kind: object, media: tuple[str, ...], schemas: _Schemas) -> dict[str, Any]:
    return {name: {"schema": schemas.of(kind)} for name in media}
