"""What a look at some keys' rows finds: their entries, or what one operator's memory of each gives for a query.

Most of what a look takes is the same for one row and for twenty: so those who ask the same of the same partition at the
same time are looked up together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np
from msgspec import Raw, Struct

from operators.columns.arithmetic import plain
from operators.operator import Readout as Columns
from pipeline.core.batch import Floats, Ints
from pipeline.core.config.model import Table
from pipeline.core.partition import Partition
from pipeline.core.table import TablePartition
from pipeline.edges.kafka.task import Task
from pipeline.edges.web.answers import Query, Readout
from pipeline.edges.web.errors import HttpError

log = logging.getLogger(__name__)

T = TypeVar("T")

Look: TypeAlias = Callable[[Task, TablePartition, Ints], Sequence[T]]
"""What is found in each of these rows."""

_ROWS = 16
_BYTES = 64 * 1024
"""Rows that are looked at together, and bytes of state of them, at most: some milliseconds of them."""


class Question(Struct, frozen=True, eq=False):
    """What is asked of a key: its entry, or with an ``operator`` what that one gives, for the vector ``(1, d_k)``."""

    table: str
    operator: str | None = None
    vector: Floats | None = None

    @classmethod
    def of(cls, table: Table, query: Query | None) -> Question:
        """Raises `HttpError` for a query that the table can't answer."""
        return cls(table.name) if query is None else cls(table.name, query.operator, _vector(table, query))

    @property
    def kind(self) -> tuple[str, str | None, bool]:
        """Questions of one kind are answered together."""
        return self.table, self.operator, self.vector is not None

    def look(self, vectors: Floats | None) -> Look[object]:
        """The look for questions of this kind, each of which has a row of ``vectors``, if they have one at all."""
        return entries if self.operator is None else readouts(self.operator, vectors)


class Ask(Struct, frozen=True, eq=False):
    """A question of the first of these keys that has a row, and who is told the answer as ``show`` has it, or None."""

    question: Question
    keys: Collection[bytes]
    show: Callable[[object], bytes]
    tell: Callable[[bytes | None], None]

    def answer(self, response: bytes | None) -> None:
        """Tell it. Where that fails it concerns one connection, and others wait behind it for their answers."""
        try:
            self.tell(response)
        except Exception:
            log.exception("nobody could be told of %s in table %s", self.keys, self.question.table)


def entries(task: Task, part: TablePartition, rows: Ints) -> list[Raw]:
    """By row, an `Entry`: the output record as it is published, with the rest behind."""
    return [
        Raw(record[:-1] + b"," + msgspec.json.encode({"state": memories, "committed": task.committed})[1:])
        for record, memories in part.entries(rows)
    ]


def readouts(operator: str, vectors: Floats | None) -> Look[Readout]:
    """The look for what an operator's memory of each row gives for a vector of its own, or for none."""

    def look(_: Task, part: TablePartition, rows: Ints) -> list[Readout]:
        memory = part.state.memories[operator]
        with np.errstate(all="ignore"):
            return _shown(memory.operator.read(memory.gather(rows), vectors))

    return look


def row_of(part: TablePartition, keys: Collection[bytes]) -> int | None:
    """The row of the first of the keys that has one."""
    for key in keys:
        if (row := part.state.find(key)) is not None:
            return row
    return None


def together(task: Task, asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    """Asks of one kind in as many parts as it takes to look at none of them for long."""
    size = 1
    if len(asks) > 1 and task.partition is not None:
        state = task.partition.tables[asks[0].question.table].state
        size = min(_ROWS, max(1, _BYTES * len(state.times) // max(1, state.nbytes)))
    return (asks[at : at + size] for at in range(0, len(asks), size))


def look_up(task: Task, asks: Sequence[Ask], partition: Partition | None) -> None:
    """Tell those who ask questions of one kind what there is, all of them None if the look fails."""
    answers: Mapping[int, bytes] = {}
    try:
        if partition is not None:
            answers = _answers(task, asks, partition)
    except Exception:  # who asks again another way is told of it
        log.debug("%s: a look at %s failed", task.name, asks[0].question.table, exc_info=True)
    for place, ask in enumerate(asks):
        ask.answer(answers.get(place))


def _answers(task: Task, asks: Sequence[Ask], partition: Partition) -> dict[int, bytes]:
    """The answers, by the places of those who ask for a key that is there."""
    question = asks[0].question
    part = partition.tables[question.table]
    rows = {place: row for place, ask in enumerate(asks) if (row := row_of(part, ask.keys)) is not None}
    if not rows:
        return {}
    vectors = [vector for place in rows if (vector := asks[place].question.vector) is not None]
    look = question.look(np.concatenate(vectors) if vectors else None)
    found = look(task, part, np.fromiter(rows.values(), np.int64, len(rows)))
    return {place: asks[place].show(answer) for place, answer in zip(rows, found, strict=True)}


def _vector(table: Table, query: Query) -> Floats | None:
    """The query as the operator takes it, ``(1, d_k)``. Raises `HttpError` if it takes none, or one that is longer."""
    if query.operator not in table.operators:
        known = ", ".join(table.operators)
        raise HttpError(HTTPStatus.NOT_FOUND, f"no operator {query.operator} in table {table.name}", f"it has {known}")
    if query.query is None:
        return None
    shapes = table.origin.shapes(query.operator)
    if "key" not in shapes:
        raise HttpError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"operator {query.operator} takes no query",
            "leave `query` out, or ask a memory of keys and values",
        )
    vector = np.array(query.query)
    if vector.shape != shapes["key"]:
        raise HttpError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the query has {len(vector)} numbers",
            f"operator {query.operator} takes {shapes['key'][0]}",
        )
    return vector[None]


def _shown(readout: Columns) -> list[Readout]:
    """By row, the read-out by its parts; what is undefined is null."""
    parts = readout if isinstance(readout, dict) else {"value": readout}
    return [dict(zip(parts, row, strict=True)) for row in zip(*map(plain, parts.values()), strict=True)]
