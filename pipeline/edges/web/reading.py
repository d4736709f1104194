"""What a worker can tell of its tables: folded, not yet committed state, and up to which offset it is committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TypeVar

import numpy as np
from msgspec import Raw

from pipeline.core.config.model import Table
from pipeline.core.encode import key_texts
from pipeline.core.hop import home_of
from pipeline.core.table import TablePartition
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.task import Task
from pipeline.edges.web.answers import PartitionState, Query, Readout, Restoring, Summary
from pipeline.edges.web.cursor import Cursor
from pipeline.edges.web.errors import Absent, HttpError, elsewhere, no_such_key, not_yet
from pipeline.edges.web.keys import keys_named
from pipeline.edges.web.looks import Ask, Look, Question, entries, look_up, readouts, row_of, together
from pipeline.edges.web.status import declared

log = logging.getLogger(__name__)

T = TypeVar("T")

SCANNED = 50_000
"""Keys that are looked at without a pause: folding goes on between two such looks, however few keys are found."""


class Reader:
    """Reads the tables of one worker between two folds. What is with another worker is `Absent`."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.declared = declared(plane)

    # Tables

    def tables(self) -> dict[str, Summary]:
        """Every table, in short."""
        return {name: self.summary(table) for name, table in self.declared.items()}

    def table(self, name: str) -> Table:
        """A table of the configuration. Raises `HttpError` if there is none of this name."""
        tables = self.declared
        if name not in tables:
            raise HttpError(HTTPStatus.NOT_FOUND, f"no table {name}", f"there are {', '.join(tables)}")
        return tables[name]

    def summary(self, table: Table) -> Summary:
        """A table in short, with what its partitions here hold."""
        app = self._plane.app
        return {
            "topic": table.stream.topic,
            "output": app.output(table),
            "emit": table.emit,
            "operators": {name: type(operator).__name__ for name, operator in table.origin.operators.items()},
            "partitions": [_state_of(task, table) for task in self._tasks(table)],
        }

    async def keys(self, table: Table, prefix: bytes, at: Cursor, limit: int) -> tuple[list[str], Cursor | None]:
        """Some keys of the partition ``at`` which a cursor stands, and the cursor behind them; None at the end of all.

        A key that is there all the time is found once, as long as the partition stays where it is. Raises `Absent`.
        """
        count = self._partitions(table)
        if at.partition >= count:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"no partition {at.partition}", f"the table has {count}")
        task = next((task for task in self._tasks(table) if task.tp.partition == at.partition), None)

        def scan(part: TablePartition) -> tuple[list[bytes], int | None]:
            index = part.state.index
            found: list[bytes] = []
            last = min(at.row + SCANNED, index.span)
            for row in range(at.row, last):
                key = index.keys[row]
                if key.startswith(prefix) and index.get(key) == row:
                    found.append(key)
                    if len(found) == limit:
                        last = row + 1
                        break
            return found, last if last < index.span else None

        scanned = None if task is None else await self._read(task, table, scan)
        if scanned is None:
            raise self._absent(table, {at.partition})
        found, row = scanned
        after = Cursor(at.partition, row) if row is not None else Cursor(at.partition + 1, 0)
        return key_texts(found), after if after.partition < count else None

    # Keys

    async def entry(self, table: Table, segment: str) -> Raw:
        """An `Entry` as JSON: a key's latest output record, each operator's memory, and up to where it is committed.

        Raises `HttpError` if there is no such key, `Absent` if this worker can't know.
        """
        return await self._of_key(table, segment, entries)

    async def readout(self, table: Table, segment: str, query: Query) -> Readout:
        """What one operator's memory of a key gives for a query; raises as :meth:`entry`."""
        question = Question.of(table, query)
        return await self._of_key(table, segment, readouts(query.operator, question.vector))

    def at_hand(self, asks: Iterable[Ask]) -> None:
        """Tell those who ask, at once or after the fold that is under way, what :meth:`entry` or :meth:`readout` gives.

        They are told None if the key is not seen here, or not in a state that is quick to look at, or if the look comes
        to nothing after all.
        """
        groups: dict[object, tuple[Task, list[Ask]]] = {}
        quick = lru_cache(self._quick)
        for ask in asks:
            try:
                name = ask.question.table
                task = next((task for task in quick(name) if _sees(task, name, ask.keys)), None)
            except Exception:  # the long way says what it is; raised here, it would hold up all who asked as well
                log.debug("%s is not looked for", ask.keys, exc_info=True)
                task = None
            if task is None:
                ask.answer(None)
            else:
                groups.setdefault((task, ask.question.kind), (task, []))[1].append(ask)
        for task, alike in groups.values():
            for some in together(task, alike):
                task.read_soon(partial(look_up, task, some))

    def _quick(self, name: str) -> Sequence[Task]:
        """The tasks of a table where a look at the state is quick."""
        return [task for task in self._ours(self.declared[name]) if task.quick_to_read]

    async def _of_key(self, table: Table, segment: str, work: Look[T]) -> T:
        """Do ``work`` with the key's row, in the partition that has it."""
        keys = keys_named(segment)
        missing = self._homes(table, keys)
        # It is in one of them: which one can be seen while a fold goes on, what it holds can't.
        for task in sorted(self._tasks(table), key=lambda task: not _sees(task, table.name, keys)):
            if task.tp.partition in missing:
                look = partial(_found, task, keys=keys, work=work)
                result = await self._read(task, table, look, brief=True)
                if result:
                    return result[0]
                if result is not None:
                    missing.discard(task.tp.partition)
        if missing:
            raise self._absent(table, missing)
        raise no_such_key(table.name)

    def _homes(self, table: Table, keys: Collection[bytes]) -> set[int]:
        """The partitions where one of these keys may be.

        That is known of a topic that hops write; for any other nobody but its producers know.
        """
        count = self._partitions(table)
        return {home_of(key, count) for key in keys} if table.stream.internal else set(range(count))

    def _absent(self, table: Table, missing: Collection[int]) -> Absent:
        """These partitions are not here, some of them not yet."""
        restoring: list[Restoring] = [
            {"partition": task.tp.partition, "remaining": _remaining(task)}
            for task in self._tasks(table)
            if task.tp.partition in missing and task.partition is None
        ]
        return not_yet(missing, restoring) if restoring or self._unsettled() else elsewhere(missing)

    # The tasks that hold a table

    def _tasks(self, table: Table) -> list[Task]:
        """The tasks of the table's partitions that are ours now, in their order."""
        return sorted(self._ours(table), key=lambda task: task.tp.partition)

    def _ours(self, table: Table) -> Iterator[Task]:
        topic = table.stream.topic
        return (task for task in self._plane.tasks.values() if task.tp.topic == topic and task.assignment is not None)

    def _unsettled(self) -> bool:
        """Whether the group has not said what is ours: at the start, and during a rebalance."""
        plane = self._plane
        if plane.world is None or plane.consumer.current_assignment() is None:
            return True
        return bool(plane.tasks) and all(task.assignment is None for task in plane.tasks.values())

    def _partitions(self, table: Table) -> int:
        world = self._plane.world
        if world is None:
            mend = "ask again; /readyz tells when it is there"
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "starting", mend, restoring=[])
        return world.topics[table.stream.topic].partitions

    @staticmethod
    async def _read(task: Task, table: Table, work: Callable[[TablePartition], T], *, brief: bool = False) -> T | None:
        return await task.read(lambda partition: work(partition.tables[table.name]), brief=brief)


def _sees(task: Task, name: str, keys: Collection[bytes]) -> bool:
    """Whether one of the keys seems to be there. That can be seen while a fold goes on; what it holds can't."""
    return task.partition is not None and row_of(task.partition.tables[name], keys) is not None


def _found(task: Task, part: TablePartition, keys: Collection[bytes], work: Look[T]) -> Sequence[T]:
    """What ``work`` finds in the row of the first of the keys that has one, if one has."""
    row = row_of(part, keys)
    return () if row is None else work(task, part, np.array([row]))


def _state_of(task: Task, table: Table) -> PartitionState:
    partition = task.partition
    return {
        "partition": task.tp.partition,
        "phase": task.phase.value,
        "keys": partition.tables[table.name].state.live if partition else None,
        "position": partition.position if partition else None,
        "committed": task.committed,
        "remaining": _remaining(task),
    }


def _remaining(task: Task) -> int | None:
    """While it is restored, the records still to be read, as far as that is known."""
    return sum(task.restore.remaining.values()) if task.restore and task.restore.remaining else None
