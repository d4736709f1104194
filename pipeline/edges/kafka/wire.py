"""The records of aiokafka's wire batches, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED

from pipeline.core.batch import Headers


def is_data(fetched: Any, wire: Any) -> bool:
    """Whether a wire batch holds records to be seen: no control marker and not of an aborted transaction."""
    if fetched._isolation_level == READ_COMMITTED and wire.producer_id is not None:
        fetched._consume_aborted_up_to(wire.base_offset)
        if wire.is_control_batch and fetched._contains_abort_marker(wire):
            fetched._aborted_producers.discard(wire.producer_id)
        if wire.is_transactional and wire.producer_id in fetched._aborted_producers:
            return False
    return not wire.is_control_batch


class HoleError(Exception):
    """A wire batch has fewer records than offsets: compaction took some."""


class RecordColumns:
    """What the records of some wire batches hold, as lists."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.timestamps: list[int] = []
        self.headers: dict[int, Headers] = {}
        self._offsets: list[Sequence[int]] = []

    def append(self, wire: Any, position: int, *, has_holes: bool) -> None:
        """The records from ``position`` on: a fetch from the middle of a wire batch gets the whole of it.

        Each record is let go before the next is made, which takes its place in memory while that is in the cache, and
        its offset is looked at only in a partition that ``has_holes``.

        Raises:
            HoleError: the partition has them after all; nothing was appended.
        """
        first = getattr(wire, "base_offset", None)  # which those from before Kafka 0.11 don't have
        if has_holes or first is None:
            self._append_each(wire, position)
            return
        before = len(self.keys)
        try:
            self._append_all(wire)
            if len(self.keys) - before != wire.next_offset - first:
                raise HoleError
        except Exception:
            self._cut(before, None)
            raise
        self._cut(before, before + max(0, position - first))
        self._offsets.append(range(max(first, position), wire.next_offset))

    def offsets(self) -> Sequence[int]:
        """All of them, which rise."""
        parts = self._offsets
        if parts and parts[-1][-1] - parts[0][0] == len(self.keys) - 1:
            return range(parts[0][0], parts[-1][-1] + 1)
        return list(chain.from_iterable(parts))

    def _append_all(self, wire: Iterable[Any]) -> None:
        key, value, timestamp = self.keys.append, self.values.append, self.timestamps.append
        for record in wire:
            key(record.key)
            value(record.value)
            timestamp(record.timestamp)
            if record.headers:
                self.headers[record.offset] = record.headers

    def _cut(self, begin: int, end: int | None) -> None:
        for column in (self.keys, self.values, self.timestamps):
            del column[begin:end]

    def _append_each(self, wire: Iterable[Any], position: int) -> None:
        records = [record for record in wire if record.offset >= position]
        if records:
            self.keys += [record.key for record in records]
            self.values += [record.value for record in records]
            self.timestamps += [record.timestamp for record in records]
            self.headers |= {record.offset: record.headers for record in records if record.headers}
            self._offsets.append([record.offset for record in records])
