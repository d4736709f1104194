"""Ask a running worker over HTTP: each answers for the keys of all."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

import msgspec

from pipeline.core.config.model import App
from pipeline.edges.web.address import Address
from pipeline.edges.web.keys import segment_of
from pipeline.errors import InputError, RunError

_SECONDS = 10.0
_GLANCE_SECONDS = 1.0

Answer = Mapping[str, Any]


def entry(app: App, table: str, key: str) -> Answer:
    """A key's latest output record and its state.

    Raises:
        RunError: no worker answers, or there is no such key.
    """
    return _answer(app, f"/tables/{segment_of(table)}/{segment_of(key)}", None)


def readout(app: App, table: str, key: str, operator: str, query: list[float] | None) -> Answer:
    """What an operator's memory of a key gives for a query; raises as :func:`entry`, or if the query does not fit."""
    body = msgspec.json.encode({"operator": operator, "query": query})
    return _answer(app, f"/tables/{segment_of(table)}/{segment_of(key)}/read", body)


def keys(app: App, table: str, prefix: str, limit: int) -> list[str]:
    """Some keys of a table that begin so. Raises as :func:`entry`."""
    path = f"/tables/{segment_of(table)}?prefix={segment_of(prefix)}&limit={limit}"
    _, answer = _ask(Address.parse(app.http), path, None, app.http_token, _GLANCE_SECONDS)
    return list(map(str, answer.get("keys", ())))


def _answer(app: App, path: str, body: bytes | None) -> Answer:
    status, answer = _ask(Address.parse(app.http), path, body, app.http_token)
    if status is HTTPStatus.OK:
        return answer
    if status is HTTPStatus.UNAUTHORIZED:
        raise refused()
    wrong = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_URI_TOO_LONG)
    kind = InputError if status in wrong else RunError
    raise kind(str(answer.get("error", status.phrase)), str(answer.get("mend", "see the worker's log")))


def _ask(
    address: Address, path: str, body: bytes | None, token: str | None, seconds: float = _SECONDS
) -> tuple[HTTPStatus, dict[str, Any]]:
    status, answer = fetch(address, path, token, body=body, seconds=seconds)
    try:
        return status, msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise stranger(address) from error


def fetch(
    address: Address, path: str, token: str | None, *, body: bytes | None = None, seconds: float = _SECONDS
) -> tuple[HTTPStatus, bytes]:
    """What a worker answers to GET, or to POST where there is a body. Raises RunError if it doesn't, or is none."""
    connection = HTTPConnection(address.advertised().host, address.port, timeout=seconds)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return HTTPStatus(response.status), response.read()
    except (OSError, HTTPException) as error:
        raise RunError(
            f"no worker answers at http://{address}: {error}",
            "`streamfold run FILE` starts one; `http` in [app] says where it listens",
        ) from error
    except ValueError as error:
        raise stranger(address) from error
    finally:
        connection.close()


def stranger(address: Address) -> RunError:
    """What listens there is something else."""
    return RunError(
        f"what listens at http://{address} is no streamfold worker", "set `http` in [app] to the worker's address"
    )


def refused() -> InputError:
    """The worker wants another token."""
    return InputError("the worker asks for another token", "set `http_token` in [app] to the one that it runs with")
