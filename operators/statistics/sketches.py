"""The bins in use of many sketches: counts of events by the codes of :class:`operators.statistics.log_bins.LogBins`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Ints
from operators.operator import State
from operators.statistics.log_bins import coarser

Array = npt.NDArray[Any]

_ROW = 1 << 32
"""The size of a code is far less than half of it."""


@dataclass(frozen=True)
class Table:
    """The bins (T,) of R sketches one behind the other, by row and then by code; ``level`` is that of each row (R,)."""

    row: Ints
    code: Ints
    events: Ints
    level: Ints

    @property
    def used(self) -> Ints:
        """How many bins each row has, (R,)."""
        return np.bincount(self.row, minlength=len(self.level))

    def raised(self, level: Ints) -> Table:
        """The table with its rows on these levels, which are not below theirs."""
        code = coarser(self.code, (level - self.level)[self.row])
        return Table(self.row, code, self.events, level)._summed()

    def joined(self, row: Ints, code: Ints, events: Ints) -> Table:
        """The table with more events, in bins of the same levels."""
        key = np.concatenate([_key(self.row, self.code), _key(row, code)])
        order = np.argsort(key, kind="stable")
        return Table(*_split(key[order]), np.concatenate([self.events, events])[order], self.level)._summed()

    def with_bins(self, row: Ints, code: Ints) -> Table:
        """The table with more bins, which are new and sorted, without events."""
        at = np.searchsorted(_key(self.row, self.code), _key(row, code))
        rows, codes, events = (
            np.insert(*more) for more in ((self.row, at, row), (self.code, at, code), (self.events, at, 0))
        )
        return Table(rows, codes, events, self.level)

    def narrowed(self, room: int) -> Table:
        """The table without empty bins, and with neighbours made one until no row has more than ``room`` of them."""
        some = np.flatnonzero(self.events)
        table = Table(self.row[some], self.code[some], self.events[some], self.level)
        while (full := table.used > room).any():
            table = table.raised(table.level + full)
        return table

    def rise(self, row: Ints, code: Ints, first: Ints, room: int) -> Ints:
        """By how many levels each row has to rise until after each of M events that come to these bins.

        ``first`` (M,) is the first event of the same row; the events of a row are neighbours.
        """
        rise = np.zeros(len(row), np.int64)
        while True:
            by = int(rise.max(initial=0))
            old = np.unique(_key(self.row, coarser(self.code, by)))
            keys, nth = np.unique(_key(row, coarser(code, by)), return_index=True)
            new = np.zeros(len(row), np.int64)
            new[nth[~np.isin(keys, old)]] = 1
            sums = np.cumsum(new)
            bins = np.bincount(_split(old)[0], minlength=len(self.level))[row] + sums - (sums - new)[first]
            if (bins <= room).all():
                return rise
            rise += bins > room

    def _summed(self) -> Table:
        """The table with equal bins made one."""
        key = _key(self.row, self.code)
        first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
        events = np.add.reduceat(self.events, first) if len(first) else self.events
        return Table(self.row[first], self.code[first], events, self.level)


@dataclass
class Sketches:
    """R rows of bins sorted by code: of ``code`` and ``events`` (R, room) the first ``used`` (R,) count.

    As :meth:`of` a state makes them they are its own arrays, until a row needs more room than it has there.
    """

    code: Array
    events: Array
    used: Array
    level: Array

    @staticmethod
    def of(state: State) -> Sketches:
        """The sketches of a state: one for each key, or for each number of its vector."""
        room = state["bin"].shape[-1]
        code, events = (state[name].reshape(-1, room, copy=False) for name in ("bin", "events"))
        used, level = (state[name].reshape(-1, copy=False) for name in ("used", "level"))
        return Sketches(code, events, used, level)

    @property
    def room(self) -> int:
        """How many bins a row has a place for."""
        return int(self.code.shape[1])

    def codes(self, at: Ints) -> Ints:
        """The codes of bins by their places among those of all rows."""
        return self.code.take(at, mode="clip").astype(np.int64)

    def table(self, rows: Ints | slice = slice(None)) -> Table:
        """The bins of some rows, which are numbered from 0."""
        used = self.used[rows].astype(np.int64)
        here = np.arange(self.room) < used[:, None]
        code, events = (array[rows][here].astype(np.int64) for array in (self.code, self.events))
        return Table(np.repeat(np.arange(len(used)), used), code, events, self.level[rows].astype(np.int64))

    def put(self, table: Table, rows: Ints | slice = slice(None)) -> None:
        """Store the bins of some rows, with room for all of them."""
        used = table.used
        if (more := int(used.max(initial=0)) - self.room) > 0:
            self.code, self.events = (np.pad(array, ((0, 0), (0, more))) for array in (self.code, self.events))
        here = np.arange(self.room) < used[:, None]
        for array, numbers in ((self.code, table.code), (self.events, table.events)):
            wide = np.zeros(here.shape, array.dtype)
            wide[here] = numbers
            array[rows] = wide
        self.used[rows], self.level[rows] = used, table.level

    def places(self, row: Ints, code: Ints) -> Ints:
        """The place of each of these bins (M,) in its row. A bin that is new is made, without events."""
        place, known = self._find(row, code)
        if known.all():
            return place
        new_row, new_code = _split(np.unique(_key(row[~known], code[~known])))
        rows, local = np.unique(new_row, return_inverse=True)
        self.put(self.table(rows).with_bins(local, new_code), rows)
        moved = np.flatnonzero(np.isin(row, rows))
        place[moved] = self._find(row[moved], code[moved])[0]
        return place

    def count(self, row: Ints, place: Ints) -> None:
        """Count an event in each of these places."""
        np.add.at(self.events.reshape(-1), self.room * row + place, 1)

    def narrow(self, state: State) -> None:
        """Make neighbours one in rows that have outgrown the state, and store them there."""
        room = state["bin"].shape[-1]
        if self.room > room:
            full = np.flatnonzero(self.used > room)
            self.put(self.table(full).narrowed(room), full)
            for name, array in (("bin", self.code), ("events", self.events)):
                state[name] = array[:, :room].reshape(state[name].shape)

    def _find(self, row: Ints, code: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The place that each of these bins has or would have in its row, and whether it is there."""
        start, used = row * self.room, self.used[row]
        low, high = np.zeros_like(row), used.astype(np.int64)
        for _ in range(int(used.max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            right = (middle < high) & (self.codes(start + middle) < code)
            low, high = np.where(right, middle + 1, low), np.where(right, high, middle)
        return low, (low < used) & (self.codes(start + low) == code)


def _key(row: Ints, code: Ints) -> Ints:
    return row * _ROW + (code + _ROW // 2)


def _split(key: Ints) -> tuple[Ints, Ints]:
    return key // _ROW, key % _ROW - _ROW // 2
