"""What a worker can tell of its tables: folded, not yet committed state, and up to which offset it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import TypeVar

import msgspec
import numpy as np

from operators.operator import Readout
from pipeline.core.batch import Floats
from pipeline.core.config.model import Table
from pipeline.core.encode import key_texts
from pipeline.core.table import TablePartition
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.task import Task
from pipeline.edges.web.address import Address
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.keys import keys_named
from pipeline.errors import KafkaStateError

T = TypeVar("T")

_OWNERS_SECONDS = 3.0


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a read: which operator, and the query vector (left out: the newest event's own)."""

    operator: str
    query: list[float] | None = None


class Reader:
    """Reads the tables of one worker between two folds."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    # Tables

    def tables(self) -> dict[str, object]:
        """Every table, in short."""
        return {name: self._summary(table) for name, table in self._declared().items()}

    async def table(self, name: str, prefix: bytes, offset: int, limit: int) -> dict[str, object]:
        """One table: what its partitions here hold, and some of their keys, those seen first first."""
        table = self._table(name)

        def found(part: TablePartition) -> list[bytes]:
            return list(islice((key for key in part.state.index if key.startswith(prefix)), offset + limit))

        keys = [key for task in self._tasks(table) for key in await self._read(task, table, found) or ()]
        return self._summary(table) | {"keys": key_texts(keys[offset : offset + limit])}

    def _summary(self, table: Table) -> dict[str, object]:
        app = self._plane.app
        return {
            "topic": table.stream.topic,
            "output": app.output(table),
            "emit": table.emit,
            "operators": {name: type(operator).__name__ for name, operator in table.origin.operators.items()},
            "partitions": [self._state_of(task, table) for task in self._tasks(table)],
        }

    @staticmethod
    def _state_of(task: Task, table: Table) -> dict[str, object]:
        partition = task.partition
        return {
            "partition": task.tp.partition,
            "phase": task.phase.value,
            "keys": partition.tables[table.name].state.live if partition else None,
            "position": partition.position if partition else None,
            "committed": task.committed,
        }

    # Keys

    async def entry(self, name: str, segment: str) -> dict[str, object]:
        """A key's latest output record, the memory itself of each operator, and up to where it is committed."""
        table = self._table(name)

        def entry(part: TablePartition, row: int) -> dict[str, object]:
            record: dict[str, object] = msgspec.json.decode(part.record(row))
            return record | {"state": part.state.memories_of(row)}

        task, found = await self._of_key(table, segment, entry)
        return found | {"committed": task.committed}

    async def readout(self, name: str, segment: str, query: Query) -> dict[str, object]:
        """What one operator's memory of a key gives for a query."""
        table = self._table(name)
        if query.operator not in table.operators:
            known = ", ".join(table.operators)
            raise HttpError(HTTPStatus.NOT_FOUND, f"no operator {query.operator} in table {name}", f"it has {known}")
        vector = _vector(table, query)

        def readout(part: TablePartition, row: int) -> dict[str, object]:
            memory = part.state.memories[query.operator]
            with np.errstate(all="ignore"):
                return _shown(memory.operator.read(memory.gather(np.array([row])), vector))

        _, found = await self._of_key(table, segment, readout)
        return found

    async def _of_key(self, table: Table, segment: str, work: Callable[[TablePartition, int], T]) -> tuple[Task, T]:
        """Do ``work`` with the key's row. Raises `HttpError` if this worker can't tell."""
        keys = keys_named(segment)

        def found(part: TablePartition) -> tuple[T] | None:
            rows = (part.state.find(key) for key in keys)
            return next(((work(part, row),) for row in rows if row is not None), None)

        tasks = self._tasks(table)
        unread = []
        for task in tasks:
            if task.partition is None:
                unread.append(task.name)
            elif (result := await self._read(task, table, found)) is not None:
                return task, result[0]
        if unread or self._unsettled():
            what = f"restoring {', '.join(unread)}" if unread else "joining the group"
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, what, "ask again; /readyz tells when it is there")
        if len(tasks) < self._partitions(table):
            raise await self._elsewhere(table, tasks)
        raise HttpError(
            HTTPStatus.NOT_FOUND,
            f"no such key in table {table.name}",
            f"GET /tables/{table.name} lists keys; `streamfold watch FILE {table.name} --from-start` shows what came",
        )

    async def _elsewhere(self, table: Table, tasks: list[Task]) -> HttpError:
        """The key may be in a partition of another member: nobody but the producer knows in which."""
        owners = await self.others()
        held = ", ".join(str(task.tp.partition) for task in tasks) or "none"
        return HttpError(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"not among the keys of this worker, which holds of {table.stream.topic} the partitions: {held}",
            f"ask {' or '.join(owners)}" if owners else "ask the other members of the group",
            owners=owners,
        )

    async def others(self) -> list[str]:
        """Where the other members of the group serve HTTP, as far as they can be asked for."""
        world = self._plane.world
        assert world is not None, "the plane is started"
        try:
            async with asyncio.timeout(_OWNERS_SECONDS):
                members = await world.ask(world.admin.members, self._plane.app.group)
        except (KafkaStateError, TimeoutError):
            return []
        ours = self._plane.settings.client_id
        clients = {member.partition(" ")[0] for member in members} - {ours}
        return sorted(filter(None, map(Address.of_client_id, clients)))

    # The tasks that hold a table

    def _table(self, name: str) -> Table:
        tables = self._declared()
        if name not in tables:
            raise HttpError(HTTPStatus.NOT_FOUND, f"no table {name}", f"there are {', '.join(tables)}")
        return tables[name]

    def _declared(self) -> Mapping[str, Table]:
        """The tables of the configuration, each with the stream that it is folded from."""
        return {name: table for name, table in self._plane.app.tables.items() if not table.internal}

    def _tasks(self, table: Table) -> list[Task]:
        """The tasks of the table's partitions that are ours now."""
        tasks = self._plane.tasks.values()
        ours = [task for task in tasks if task.tp.topic == table.stream.topic and task.assignment is not None]
        return sorted(ours, key=lambda task: task.tp.partition)

    def _unsettled(self) -> bool:
        """Whether the group has not said what is ours: at the start, and during a rebalance."""
        plane = self._plane
        if plane.world is None or plane.consumer.current_assignment() is None:
            return True
        return bool(plane.tasks) and all(task.assignment is None for task in plane.tasks.values())

    def _partitions(self, table: Table) -> int:
        world = self._plane.world
        assert world is not None, "the plane is started"
        return world.topics[table.stream.topic].partitions

    @staticmethod
    async def _read(task: Task, table: Table, work: Callable[[TablePartition], T]) -> T | None:
        return await task.read(lambda partition: work(partition.tables[table.name]))


def _vector(table: Table, query: Query) -> Floats | None:
    """The query as the operator takes it, ``(1, d_k)``. Raises `HttpError` if it takes none, or one that is longer."""
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


def _shown(readout: Readout) -> dict[str, object]:
    """One key's read-out by its parts; what is undefined is null."""
    parts = readout if isinstance(readout, dict) else {"value": readout}
    return {name: part[0].tolist() if np.isfinite(part[0]).all() else None for name, part in parts.items()}
