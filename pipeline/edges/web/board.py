"""The newest committed records of a few keys of each table: those that somebody asked for, and some that move."""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import islice

import msgspec
from aiokafka import TopicPartition

from pipeline.core.encode import key_text
from pipeline.core.partition import Cut

SHOWN = 8
"""Keys of a table that are shown unasked."""

QUIET_SECONDS = 20.0
"""A key that is shown unasked makes room for one that moves when it has not moved for so long."""

FRAME_BYTES = 256 * 1024
"""Records of one frame together; the others wait for the next."""

RECORD_BYTES = 16 * 1024
"""A longer record is not shown."""

_KEY_BYTES = 256
_LOOKED_AT = 64

Key = tuple[str, bytes]
"""A table's name, and a key of it."""

Record = tuple[bytes, bytes]
"""A key and its output record."""


@dataclass(slots=True)
class _Row:
    """A key: its record, which is None where there is none; ``change`` and ``at`` say when that came."""

    tp: TopicPartition | None = None
    record: bytes | None = None
    change: int = 0
    at: float = 0.0
    unasked: bool = False
    askers: int = 0


@dataclass(slots=True)
class _Shown:
    """The rows of one table; ``change`` is the last of any of them, also of those that are gone."""

    rows: dict[bytes, _Row] = field(default_factory=dict)
    change: int = 0


class Board:
    """What pages show of the tables whose output topics are the keys of ``outputs``.

    It holds at most ``SHOWN`` keys of each table and those asked for, however long it is told of commits, and counts
    the changes, so that each page knows which it has seen.
    """

    def __init__(self, outputs: Mapping[str, str]) -> None:
        self.change = 0
        self._outputs = outputs
        self._tables = {table: _Shown() for table in outputs.values()}

    # Who asks

    def ask(self, keys: Iterable[Key]) -> None:
        """Somebody wants to see these keys, whether they move or not."""
        for table, key in keys:
            self._tables[table].rows.setdefault(key, _Row()).askers += 1

    def unask(self, keys: Iterable[Key]) -> None:
        """Somebody does not want to see them any more."""
        for table, key in keys:
            rows = self._tables[table].rows
            rows[key].askers -= 1
            if not rows[key].askers and not rows[key].unasked:
                del rows[key]

    def lacking(self, table: str) -> list[bytes]:
        """The keys of a table that were asked for and have no record."""
        return [key for key, row in self._tables[table].rows.items() if row.record is None]

    def room(self, table: str) -> int:
        """How many more keys of a table would be shown unasked."""
        return SHOWN - sum(row.unasked for row in self._tables[table].rows.values())

    # What is committed

    def committed(self, tp: TopicPartition, cut: Cut) -> None:
        """A cut of this source partition went through. Costs one pass over its outputs in C, and no Python an event."""
        for append in cut.appends:
            if append.topic in self._outputs:
                name = self._outputs[append.topic]
                table = self._tables[name]
                newest = dict(zip(append.keys, append.values, strict=True))
                for key in table.rows.keys() & newest.keys():
                    self._put(table, key, tp, newest[key])
                last = islice(reversed(newest), _LOOKED_AT)
                self.show(name, tp, ((key, newest[key]) for key in last if key is not None))

    def answer(self, table: str, tp: TopicPartition, records: Iterable[Record]) -> None:
        """Records that were committed earlier: those of keys that were asked for and have none yet are shown."""
        shown = self._tables[table]
        for key, record in records:
            if key in shown.rows and shown.rows[key].record is None:
                self._put(shown, key, tp, record)

    def show(self, table: str, tp: TopicPartition, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Records of keys that moved, the newest first: they are shown as far as there is room, or others are quiet."""
        shown = self._tables[table]
        past = time.monotonic() - QUIET_SECONDS
        quiet = [key for key, row in shown.rows.items() if row.unasked and row.at < past]
        room = self.room(table)
        if not (room or quiet):
            return
        for key, record in records:
            if key in shown.rows or record is None or len(key) > _KEY_BYTES:
                continue
            if room:
                room -= 1
            elif quiet:
                self._hide(shown, quiet.pop(0))
            else:
                return
            shown.rows[key] = _Row(unasked=True)
            self._put(shown, key, tp, record)

    def keep(self, ours: Container[TopicPartition]) -> None:
        """Drop what is of partitions that are another worker's now."""
        for table in self._tables.values():
            for key, row in list(table.rows.items()):
                if row.tp is not None and row.tp not in ours:
                    self._put(table, key, None, None)

    def _put(self, table: _Shown, key: bytes, tp: TopicPartition | None, record: bytes | None) -> None:
        self.change += 1
        row = table.rows[key]
        row.tp, row.record, row.change, row.at = tp, record, self.change, time.monotonic()
        table.change = self.change
        if record is None:
            row.unasked = False
            if not row.askers:
                del table.rows[key]

    @staticmethod
    def _hide(table: _Shown, key: bytes) -> None:
        row = table.rows[key]
        row.unasked = False
        if not row.askers:
            del table.rows[key]

    # What a page has not seen

    def news(self, seen: int, asked: Set[Key]) -> tuple[Mapping[str, object], int]:
        """What changed after change ``seen``, by table, for who asked for some keys; and up to which change that is.

        A table that changed has ``keys``, all that are shown, and the ``records`` that are new; in place of one that is
        too long, its length is in ``too_long``.
        """
        changed = {name: table for name, table in self._tables.items() if table.change > seen}
        visible = {name: list(_visible(name, table, asked)) for name, table in changed.items()}
        fresh = sorted((row.change, name, key) for name in visible for key, row in visible[name] if row.change > seen)
        chosen, upto = self._within_bounds(fresh)
        news = {name: _told(visible[name], chosen) for name in visible}
        return news, self.change if upto is None else upto

    def _within_bounds(self, fresh: Collection[tuple[int, str, bytes]]) -> tuple[set[int], int | None]:
        """The changes that one frame has room for, and the last of them if there are more."""
        chosen: set[int] = set()
        nbytes, last = 0, 0
        for change, name, key in fresh:
            size = len(self._tables[name].rows[key].record or b"")
            nbytes += size if size <= RECORD_BYTES else 0
            if nbytes > FRAME_BYTES:
                return chosen, last
            chosen.add(change)
            last = change
        return chosen, None


def _visible(name: str, table: _Shown, asked: Set[Key]) -> Iterator[tuple[bytes, _Row]]:
    for key, row in table.rows.items():
        if row.record is not None and (row.unasked or (name, key) in asked):
            yield key, row


def _told(rows: list[tuple[bytes, _Row]], chosen: Set[int]) -> dict[str, object]:
    fresh = [(key, row.record) for key, row in rows if row.change in chosen and row.record is not None]
    return {
        "keys": [key_text(key) for key, _ in rows],
        "records": [msgspec.Raw(record) for _, record in fresh if len(record) <= RECORD_BYTES],
        "too_long": {key_text(key): len(record) for key, record in fresh if len(record) > RECORD_BYTES},
    }
