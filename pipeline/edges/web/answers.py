"""What is answered over HTTP: what the code makes, and what `/openapi.json` says of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

import msgspec
from msgspec import Meta

Result: TypeAlias = float | list[Any] | None
"""A number, a vector or a matrix; null where it is undefined."""

Phase: TypeAlias = Literal["waiting", "fencing", "restoring", "running", "parked", "closed"]


class Live(TypedDict):
    """The process answers."""

    live: bool


class Ready(TypedDict):
    """Whether all partitions of this worker take events."""

    ready: bool
    reasons: Annotated[list[str], Meta(description="Why it is not ready; none if it is.")]


class PartitionState(TypedDict):
    """A partition of a table's topic that is assigned to the worker that was asked."""

    partition: int
    phase: Phase
    keys: Annotated[int | None, Meta(description="Keys with state; null before it is restored.")]
    position: Annotated[int | None, Meta(description="The next offset to fold; null before it is restored.")]
    committed: Annotated[int | None, Meta(description="The next offset by what is committed.")]
    remaining: Annotated[int | None, Meta(description="While it is restored, the records still to be read.")]


class Summary(TypedDict):
    """A table in short."""

    topic: Annotated[str, Meta(description="What it is folded from.")]
    output: Annotated[str, Meta(description="The topic that its results are published to.")]
    emit: str
    operators: Annotated[dict[str, str], Meta(description="The class of each operator, by its name.")]
    partitions: Annotated[list[PartitionState], Meta(description="Those of the worker that was asked.")]


class Tables(TypedDict):
    """All tables, by their names."""

    tables: dict[str, Summary]


class Page(Summary):
    """A table in short, and some of its keys, those of other workers too."""

    keys: Annotated[list[str], Meta(description="As output records show them: `base64:...` if they are not text.")]
    next: Annotated[
        str | None,
        Meta(description="A link, relative to this one, to the keys after these; null if there are no more."),
    ]


class Entry(TypedDict):
    """The latest output record of a key, with a further field for each operator, and its state.

    It is what is folded, committed or not yet: `offset` is folded and `committed` tells up to where is committed.
    """

    key: str
    time: Annotated[float, Meta(description="Unix time of the latest event, in seconds.")]
    partition: int
    offset: Annotated[int, Meta(description="That of the latest event.")]
    state: Annotated[dict[str, dict[str, Any]], Meta(description="The memory itself of each operator.")]
    committed: Annotated[int | None, Meta(description="The next offset of this partition by what is committed.")]


Readout: TypeAlias = Annotated[
    dict[str, Result],
    Meta(description="`value`, or each named part of the operator's result; null where it is undefined."),
]


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """A question to one operator of a key."""

    operator: str
    query: Annotated[
        list[float] | None, Meta(description="The vector to ask with; left out, that of the newest event.")
    ] = None


class Restoring(TypedDict):
    """A partition whose state is not there yet."""

    partition: int
    remaining: Annotated[int | None, Meta(description="Records still to be read; null before that is known.")]


class Problem(TypedDict):
    """Why there is no answer, and what to do."""

    error: str
    mend: str
    missing: NotRequired[Annotated[list[int], Meta(description="Partitions of the table that could not be looked in.")]]
    restoring: NotRequired[Annotated[list[Restoring], Meta(description="Those of them that are being restored.")]]
    owners: NotRequired[Annotated[list[str], Meta(description="Other workers that may have them.")]]
