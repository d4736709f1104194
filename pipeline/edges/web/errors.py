"""What HTTP answers when it can't answer: a status, one line of cause, one of mend."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any, cast

from pipeline.edges.web.answers import Problem, Restoring


class HttpError(Exception):
    """An answer that is no success; ``more`` are further fields of the problem."""

    def __init__(self, status: HTTPStatus, error: str, mend: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.problem = cast("Problem", {"error": error, "mend": mend, **more})


class Absent(HttpError):
    """What is asked for may be in partitions of a table, ``missing``, that could not be looked in."""

    @property
    def missing(self) -> list[int]:
        """The numbers of these partitions."""
        return self.problem["missing"]


def no_such_key(table: str) -> HttpError:
    """All partitions were looked in."""
    return HttpError(
        HTTPStatus.NOT_FOUND,
        f"no such key in table {table}",
        f"`streamfold watch FILE {table} --from-start` shows what came; GET /tables/{table} lists its keys",
    )


def elsewhere(missing: Collection[int]) -> Absent:
    """Only the worker that was asked has looked, and it does not have these partitions."""
    return Absent(
        HTTPStatus.MISDIRECTED_REQUEST,
        f"this worker does not have {_named(missing)} of the table",
        "ask the other members of the group, or this one without its header Streamfold-Local",
        missing=sorted(missing),
    )


def not_yet(missing: Collection[int], restoring: Sequence[Restoring]) -> Absent:
    """A worker is about to have some of these partitions; it joins the group if it restores none."""
    left = sum(part["remaining"] or 0 for part in restoring)
    where = _named([part["partition"] for part in restoring])
    return Absent(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"{where} restoring: {left} records to go" if restoring else "joining the group",
        "ask again; /readyz of each worker tells when it is there",
        missing=sorted(missing),
        restoring=list(restoring),
    )


def unanswered(missing: Collection[int], owners: Sequence[str]) -> Absent:
    """The other workers who may have these partitions do not answer, if there are any."""
    return Absent(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"no answer from {' and '.join(owners) or 'anybody'} who may have {_named(missing)} of the table",
        "ask again, as partitions go to workers that live; others have to reach the address that `http` in [app] names",
        missing=sorted(missing),
        owners=list(owners),
    )


def _named(partitions: Collection[int]) -> str:
    numbers = ", ".join(map(str, sorted(partitions)))
    return f"partition{'s' if len(partitions) > 1 else ''} {numbers}"
