"""``GET /live``: what is committed, as server-sent events, for the page at ``/`` and for front ends of one's own.

While nobody is connected nobody is told of a commit. Each connection is written to by its own handler, a few times a
second, what the board shows at that moment: whoever reads slowly misses what was in between, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from heapq import nlargest
from http import HTTPStatus
from operator import itemgetter
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
from aiohttp import web
from aiokafka import TopicPartition
from faust.web import View

from pipeline.core.partition import Cut, Partition
from pipeline.core.state import NO_OFFSET
from pipeline.edges.kafka.task import Task
from pipeline.edges.web.board import SHOWN, Board, Key, Record
from pipeline.edges.web.errors import HttpError
from pipeline.edges.web.keys import keys_named, segment_of
from pipeline.edges.web.status import declared, status

if TYPE_CHECKING:
    from pipeline.edges.host.app import FaustApp

log = logging.getLogger(__name__)

CONNECTIONS = 20
"""Pages that one worker serves at a time."""

ASKED = 16
"""Keys that one page may ask for."""

FRAME_SECONDS = 0.25
STATUS_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""A client that takes nothing for so long is let go."""

_GROUP_SECONDS = 10.0
_ROWS_LOOKED_AT = 100_000
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Found = Mapping[str, Sequence[tuple[float, Record]]]
"""By table, records with the times of their events."""


class Live(View):
    """What is committed, as it is."""

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A stream without end of the events ``status`` and ``rows``; ``table`` and ``key``, in pairs, ask for keys."""
        return await cast("FaustApp", self.app).feed.serve(request)


class Feed:
    """Serves the connections of one worker."""

    def __init__(self, host: FaustApp) -> None:
        self._host = host
        self._board = Board({})
        self._open: set[asyncio.Transport] = set()
        self._closed = False
        self._workers: Sequence[str] = ()
        self._asks: asyncio.Task[None] | None = None
        self._status, self._status_at = b"", -STATUS_SECONDS

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, until its client goes or the worker stops."""
        asked = self._asked(request)
        if self._closed:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "this worker stops", "ask again when it runs")
        if len(self._open) >= CONNECTIONS:
            full = f"{CONNECTIONS} pages are connected to this worker"
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, full, "close one that nobody looks at")
        response = web.StreamResponse(headers=_HEADERS)
        if request.method == "HEAD" or request.transport is None:
            return response
        transport = request.transport
        with self._connection(transport, asked):
            try:
                await response.prepare(request)
                await self._stream(response, transport, asked)
            except (ConnectionError, TimeoutError):
                # Gone, or too slow: the end of the answer would be waited for in the same way.
                transport.abort()
        return response

    def close(self) -> None:
        """The worker stops: end every connection, and take no new one."""
        self._closed = True
        if self._asks is not None:
            self._asks.cancel()
        for transport in self._open:
            transport.abort()

    # A connection

    def _asked(self, request: web.Request) -> frozenset[Key]:
        tables, keys = request.query.getall("table", []), request.query.getall("key", [])
        if len(tables) != len(keys) or len(keys) > ASKED:
            found = f"{len(tables)} times table and {len(keys)} times key"
            raise HttpError(HTTPStatus.BAD_REQUEST, found, f"expected as many of each, and at most {ASKED}")
        known = declared(self._host.plane)
        for table in tables:
            if table not in known:
                raise HttpError(HTTPStatus.NOT_FOUND, f"no table {table}", f"there are {', '.join(known)}")
        pairs = zip(tables, keys, strict=True)
        return frozenset((table, name) for table, key in pairs for name in keys_named(segment_of(key)))

    @contextmanager
    def _connection(self, transport: asyncio.Transport, asked: Set[Key]) -> Iterator[None]:
        """The worker tells of its commits while there is any connection."""
        plane = self._host.plane
        if not self._open:
            self._board = Board({plane.app.output(table): name for name, table in declared(plane).items()})
            plane.listeners.append(self._committed)
            self._asks = asyncio.create_task(self._ask_group(), name="other workers")
        self._open.add(transport)
        self._board.ask(asked)
        try:
            yield
        finally:
            self._board.unask(asked)
            self._open.discard(transport)
            if not self._open:
                plane.listeners.remove(self._committed)
                if self._asks is not None:
                    self._asks.cancel()

    async def _stream(self, response: web.StreamResponse, transport: asyncio.Transport, asked: Set[Key]) -> None:
        looked: Mapping[TopicPartition, Partition] = {}
        seen, told, frame = 0, -STATUS_SECONDS, b"retry: 1000\n\n"
        while not transport.is_closing():
            if time.monotonic() - told >= STATUS_SECONDS:
                frame += self._status_now()
                told = time.monotonic()
                looked = await self._look_up(looked)
            if self._board.change > seen:
                news, seen = self._board.news(seen, asked)
                frame += _event("rows", {"time": time.time(), "tables": news})
            if frame:
                await _write(response, frame)
                frame = b""
            await asyncio.sleep(FRAME_SECONDS)

    def _status_now(self) -> bytes:
        """The status as it is, or was less than a second ago: all connections share it."""
        if time.monotonic() - self._status_at >= STATUS_SECONDS / 2:
            self._board.keep(self._host.plane.tasks)
            self._status, self._status_at = _event("status", status(self._host, self._workers)), time.monotonic()
        return self._status

    # What is told

    def _committed(self, tp: TopicPartition, cut: Cut) -> None:
        """Nothing that goes wrong with a page may go wrong with a commit."""
        try:
            self._board.committed(tp, cut)
        except Exception:
            log.exception("the live page can't show a commit of %s-%s", tp.topic, tp.partition)

    async def _look_up(self, looked: Mapping[TopicPartition, Partition]) -> Mapping[TopicPartition, Partition]:
        """Show what was committed before: what is asked for and what moved last, of partitions not ``looked`` at yet.

        Returns those that have been now, which are also those restored since the last look.
        """
        here = {tp: task.partition for tp, task in self._host.plane.tasks.items() if task.partition is not None}
        moved: defaultdict[str, list[tuple[float, TopicPartition, Record]]] = defaultdict(list)
        for task in [task for tp, task in self._host.plane.tasks.items() if looked.get(tp) is not here.get(tp)]:
            committed, found = task.committed, await self._read(task)
            for table, records in found.items():
                self._board.answer(table, task.tp, [record for _, record in records])
                # What is committed meanwhile shows itself, and is newer.
                if task.committed == committed:
                    moved[table] += [(at, task.tp, record) for at, record in records]
        for table, all_moved in moved.items():
            for _, tp, record in nlargest(SHOWN, all_moved, key=itemgetter(0)):
                self._board.show(table, tp, [record])
        return here

    async def _read(self, task: Task) -> Found:
        wanted = {
            name: (self._board.lacking(name), self._board.room(name))
            for name, table in declared(self._host.plane).items()
            if table.stream.topic == task.tp.topic
        }
        if task.committed is None or not any(keys or room for keys, room in wanted.values()):
            return {}
        return await task.read(partial(_committed_of, committed=task.committed, wanted=wanted)) or {}

    async def _ask_group(self) -> None:
        """Until cancelled, ask the group where the other workers are."""
        while True:
            if started := self._host.plane.world is not None:
                self._workers = await self._host.peers.others()
            await asyncio.sleep(_GROUP_SECONDS if started else STATUS_SECONDS)


def _committed_of(partition: Partition, committed: int, wanted: Mapping[str, tuple[Sequence[bytes], int]]) -> Found:
    """Records whose newest event is committed: by table, those of some keys, and so many of others that moved last."""
    found = {}
    for name, (keys, room) in wanted.items():
        part = partition.tables[name]
        offsets, index = part.state.offsets, part.state.index
        asked = [row for key in keys if (row := part.state.find(key)) is not None]
        held = np.flatnonzero((offsets[:_ROWS_LOOKED_AT] != NO_OFFSET) & (offsets[:_ROWS_LOOKED_AT] < committed))
        moved = held[np.argsort(offsets[held])[len(held) - min(room, len(held)) :]].tolist()
        rows = np.array([row for row in dict.fromkeys(asked + moved) if offsets[row] < committed], np.int64)
        records = zip(map(index.keys.__getitem__, rows.tolist()), part.records(rows), strict=True)
        found[name] = list(zip(part.state.times[rows].tolist(), records, strict=True))
    return found


async def _write(response: web.StreamResponse, frame: bytes) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await response.write(frame)


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
