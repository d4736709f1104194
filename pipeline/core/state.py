"""A table's keyed state in one source partition: columns of events go in, results come out.

A fold is all or nothing. Operators work on a copy of the rows that the events touch; it is stored only when every
number in it is finite. If it is not, the events are folded by halves, until the ones that spoil it stand alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, repeat

import numpy as np

from operators.operator import Readout
from operators.state.keys import KeyIndex
from pipeline.core.batch import NO_DELETES, Deletes, Events, Floats, Ints, Reject
from pipeline.core.config.model import Table
from pipeline.core.dedupe import Seen
from pipeline.core.lifetime import Drop, Lifetimes, Steps
from pipeline.core.memory import Memory
from pipeline.core.readout import Mask, Result, join
from pipeline.core.run import Attempt, Run

NO_OFFSET = -1


@dataclass(frozen=True)
class Folded:
    """What a fold did: ``index`` are the events folded, in order of arrival, ``rows`` their keys' rows.

    ``results`` are theirs too, if the table emits every one; ``skipped`` counts events that no operator could use,
    ``duplicates`` those that were folded before. ``drops`` are the keys that went; ``overfull`` is the offset of the
    first event that brought a key too many, if there is one.
    """

    index: Ints
    rows: Ints
    results: dict[str, Result]
    rejects: list[Reject]
    skipped: int = 0
    duplicates: int = 0
    drops: list[Drop] = field(default_factory=list)
    overfull: int | None = None


class TableState:
    """All keys of one table in one source partition.

    ``times`` and ``offsets`` are the event time and the offset of the last event folded into each row; a row whose
    offset is ``NO_OFFSET`` is free. ``live`` counts the others.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.index = KeyIndex[bytes]()
        self.memories = {name: Memory(operator, table.shapes(name)) for name, operator in table.operators.items()}
        self.times: Floats = np.zeros(0)
        self.offsets: Ints = np.zeros(0, np.int64)
        self.live = 0
        self.lifetimes = Lifetimes(table, self.index)
        self.seen = None if table.dedupe is None else Seen(table.dedupe)
        self._gone: dict[bytes, tuple[int, ...]] = {}
        self._dirty: Mask = np.zeros(0, bool)
        self._each = table.emit == "every"
        self._waves = self._each and any(operator.publish != "readout" for operator in table.operators.values())

    def rows(self, keys: list[bytes]) -> Ints:
        """The rows of these keys, made where there are none."""
        rows = self.index.rows(keys)
        self._reserve()
        return rows

    def _reserve(self) -> None:
        """Make room for all rows of the index."""
        size = len(self.times)
        if self.index.span > size:
            more = max(self.index.span, size + size // 2, 64) - size
            self.times = np.concatenate([self.times, np.zeros(more)])
            self.offsets = np.concatenate([self.offsets, np.full(more, NO_OFFSET)])
            self._dirty = np.concatenate([self._dirty, np.zeros(more, bool)])
            for memory in self.memories.values():
                memory.reserve(size + more)

    # Folding

    def fold(self, events: Events, deletes: Deletes = NO_DELETES) -> Folded:
        """Fold a batch of events, in order for each key, and drop the keys of ``deletes`` in their turn."""
        usable, index, rejects = self._usable(events)
        skipped = len(events) - len(index) - len(rejects)
        if self.seen is not None and self.table.dedupe is not None:
            index, nameless = self._named(events, index, self.seen, self.table.dedupe.field)
            rejects += nameless
        steps, born = Steps(events, index, deletes), self.index.born
        with np.errstate(all="ignore"):
            if self.lifetimes.bounded or len(deletes):
                folded = _joined(self._live(steps, usable))
            else:
                folded = _joined(self._fold_all(Run(events, index, self.rows(steps.keys)), usable))
        if self.seen is not None:
            self.seen.settle()
        if folded.rejects or folded.duplicates:
            self.forget_empty(self.index.born - born)
        return replace(folded, rejects=rejects + folded.rejects, skipped=skipped)

    def _live(self, steps: Steps, usable: dict[str, Mask]) -> list[Folded]:
        """Fold steps in which keys may be dropped: all of them, or their halves.

        A refused event drops nothing: it is as if it had not come.
        """
        fresh = self._fresh(steps.index)
        plan = self.lifetimes.plan(replace(steps, index=steps.index[fresh]), self.offsets)
        self._reserve()
        run = Run(steps.events, steps.index[fresh], plan.rows)
        attempt = self._attempt(run, usable, each=self._each and not self._waves)
        if attempt.trouble is not None:
            self.lifetimes.discard(plan)
            if len(steps.index) > 1:
                first, second = steps.halves()
                return self._live(first, usable) + self._live(second, usable)
            return [self._refused(run, attempt.trouble), *self._live(steps.without_events(), usable)]
        pieces = self._by_waves(run, usable) if self._waves else [self._accept(attempt)]
        duplicates = len(fresh) - len(run)
        self._bury(plan.drops)
        self.lifetimes.accept(plan, run.keys[self.offsets[run.keys] != NO_OFFSET], self.offsets)
        pieces[0] = replace(pieces[0], duplicates=duplicates, drops=plan.drops, overfull=plan.overfull)
        return pieces

    def _bury(self, drops: list[Drop]) -> None:
        """Empty the rows of dropped keys, and remember what the changelog has of them."""
        if not drops:
            return
        rows = np.array([drop.row for drop in drops])
        rings = [count.tolist() for memory in self.memories.values() for count in memory.logged_pages(rows)]
        for drop, pages in zip(drops, zip(*rings, strict=True) if rings else repeat(()), strict=False):
            before = self._gone.get(drop.key)
            self._gone[drop.key] = pages if before is None else tuple(map(max, before, pages))
        self._clear(rows)

    def _usable(self, events: Events) -> tuple[dict[str, Mask], Ints, list[Reject]]:
        """Where fields are missing: what each such operator can use, the events folded at all, and the refused."""
        absent = {name: _absent(column) for name, column in events.columns.items()}
        absent = {name: mask for name, mask in absent.items() if mask.any()}
        everything = np.arange(len(events))
        lacking = {
            name: np.logical_or.reduce([absent[field] for field in fields if field in absent])
            for name, fields in self.table.fields_of.items()
            if any(field in absent for field in fields)
        }
        if not lacking:
            return {}, everything, []
        if self.table.missing == "skip":
            useless = np.full(len(events), len(lacking) == len(self.memories))
            for mask in lacking.values():
                useless &= mask
            return {name: ~mask for name, mask in lacking.items()}, everything[~useless], []
        refused = np.logical_or.reduce(list(lacking.values()))
        needed = {field for fields in self.table.fields_of.values() for field in fields if field in absent}
        rejects = [
            Reject(
                int(events.index[i]),
                "decode",
                f"missing or null: {', '.join(sorted(field for field in needed if absent[field][i]))}",
                self.table.name,
            )
            for i in np.flatnonzero(refused).tolist()
        ]
        return {}, everything[~refused], rejects

    def _named(self, events: Events, index: Ints, seen: Seen, field: str) -> tuple[Ints, list[Reject]]:
        """Those of the events at these places that have an id, with which a batch of ids begins, and the refused."""
        ids = events.ids[field]
        seen.begin(events.keys, [name or b"" for name in ids], events.offsets, events.times)
        if None not in ids:
            return index, []
        named = np.array([ids[i] is not None for i in index.tolist()], bool)
        places = events.index[index[~named]].tolist()
        return index[named], [Reject(n, "decode", f"missing or null: {field}", self.table.name) for n in places]

    def _fresh(self, index: Ints) -> Mask:
        """Which of the events at these places are no duplicates."""
        return np.ones(len(index), bool) if self.seen is None else self.seen.fresh(index)

    def _fold_all(self, run: Run, usable: dict[str, Mask]) -> list[Folded]:
        """Fold a run in the way of the table."""
        return self._by_waves(run, usable) if self._waves else self._fold(run, usable)

    def _fold(self, run: Run, usable: dict[str, Mask]) -> list[Folded]:
        """Fold a run without its duplicates; where that fails, its halves."""
        attempt = self._attempt(run.where(self._fresh(run.index)), usable, each=self._each)
        if attempt.trouble is None:
            return [replace(self._accept(attempt), duplicates=len(run) - len(attempt.run))]
        if len(run) == 1:
            return [self._refused(run, attempt.trouble)]
        first = np.arange(len(run)) < len(run) // 2
        return self._fold(run.where(first), usable) + self._fold(run.where(~first), usable)

    def _attempt(self, run: Run, usable: dict[str, Mask], *, each: bool) -> Attempt:
        """Fold a run into copies of its rows, as far as that goes."""
        attempt = Attempt(run)
        for name, memory in self.memories.items():
            used = usable[name][run.index] if name in usable else None
            attempt.fold(name, memory, used, each=each)
            if attempt.trouble:
                break
        return attempt

    def _accept(self, attempt: Attempt) -> Folded:
        attempt.accept()
        run = attempt.run
        self._touch(run)
        if self.seen is not None:
            self.seen.remember(run.index)
        return Folded(run.index, run.rows, self._with_states(run, attempt.results), [])

    def _refused(self, run: Run, trouble: tuple[str, str]) -> Folded:
        """What the one event of a run comes to."""
        reject = Reject(int(run.events.index[run.index[0]]), *trouble, self.table.name)
        return Folded(run.index[:0], run.rows[:0], {}, [reject])

    def _by_waves(self, run: Run, usable: dict[str, Mask]) -> list[Folded]:
        """To publish the memory after every event: fold the first event of each key, then the second, and so on."""
        wave = np.empty(len(run), np.int64)
        wave[run.groups.order] = run.groups.position
        return [
            piece for n in range(int(wave.max(initial=0)) + 1) for piece in self._fold(run.where(wave == n), usable)
        ]

    def _touch(self, run: Run) -> None:
        newest = run.newest
        self.live += int(np.count_nonzero(self.offsets[run.keys] == NO_OFFSET))
        self.times[run.keys] = run.events.times[newest]
        self.offsets[run.keys] = run.events.offsets[newest]
        self._dirty[run.keys] = True

    def _with_states(self, run: Run, readouts: dict[str, Result]) -> dict[str, Result]:
        """What is published of a run: read-outs, memories (each key comes once then), or both."""
        if not self._waves:
            return readouts
        return self._published(readouts, lambda name: self._exported(name, run.rows))

    def _published(self, readouts: Mapping[str, Result], exported: Callable[[str], Result]) -> dict[str, Result]:
        results: dict[str, Result] = {}
        for name, memory in self.memories.items():
            publish = memory.operator.publish
            if publish != "state":
                results[name] = readouts[name]
            if publish != "readout":
                results[f"{name}.state"] = exported(name)
        return results

    def _exported(self, name: str, rows: Ints) -> Sequence[Mapping[str, object]]:
        memory = self.memories[name]
        return memory.operator.export(memory.gather(rows))

    # Reading

    def latest(self, rows: Ints) -> dict[str, Result]:
        """What was, or would be, published of these keys last."""
        with np.errstate(all="ignore"):
            return self._published(self.readouts(rows), lambda name: self._exported(name, rows))

    def readouts(self, rows: Ints) -> dict[str, Readout]:
        """What each operator's memory of these keys gives now, published or not."""
        with np.errstate(all="ignore"):
            return {name: memory.operator.read(memory.gather(rows)) for name, memory in self.memories.items()}

    def entries(self, rows: Ints) -> tuple[dict[str, Result], dict[str, Sequence[Mapping[str, object]]]]:
        """What was, or would be, published of these keys last, and the memories themselves of each operator."""
        readouts, memories = dict[str, Readout](), dict[str, Sequence[Mapping[str, object]]]()
        with np.errstate(all="ignore"):
            for name, memory in self.memories.items():
                state, operator = memory.gather(rows), memory.operator
                readouts[name], memories[name] = operator.read(state), operator.export(state)
        return self._published(readouts, memories.__getitem__), memories

    def find(self, key: bytes) -> int | None:
        """The row of a key, or None if it has no state."""
        return self.index.get(key)

    # What changed

    def take_changed(self) -> Ints:
        """The rows changed since the last call."""
        rows = np.flatnonzero(self._dirty)
        self._dirty[rows] = False
        return rows

    def take_gone(self) -> dict[bytes, tuple[int, ...]]:
        """The keys dropped since the last call, some of which may have come again.

        By key, how many pages of each ring the changelog had of it at most.
        """
        gone, self._gone = self._gone, {}
        return gone

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop those of these keys that have state, without remembering it."""
        known = [key for key in dict.fromkeys(keys) if self.index.get(key) is not None]
        self._clear(self.index.rows(known))
        self.index.drop(known)

    def forget_empty(self, newest: int) -> None:
        """Drop those of the newest keys that have no events: all that came of theirs was refused."""
        if self.live == len(self.index):
            return
        keys = self.index.newest(newest)
        without = self.offsets[self.index.rows(keys)] == NO_OFFSET
        self.forget(compress(keys, without.tolist()))

    def _clear(self, rows: Ints) -> None:
        """Rows without events, as new ones are."""
        self.live -= int(np.count_nonzero(self.offsets[rows] != NO_OFFSET))
        self.offsets[rows] = NO_OFFSET
        self._dirty[rows] = False
        for memory in self.memories.values():
            memory.clear(rows)

    @property
    def nbytes(self) -> int:
        """Bytes that the columns of state take."""
        memories = sum(memory.nbytes for memory in self.memories.values())
        ids = 0 if self.seen is None else self.seen.nbytes
        return memories + self.times.nbytes + self.offsets.nbytes + self.lifetimes.nbytes + ids


def _absent(column: Floats) -> Mask:
    return np.isnan(column if column.ndim == 1 else column[:, 0])


def _joined(pieces: Sequence[Folded]) -> Folded:
    """Pieces of one batch as one, in order of arrival."""
    if len(pieces) == 1:
        return pieces[0]
    rejects = [reject for piece in pieces for reject in piece.rejects]
    duplicates = sum(piece.duplicates for piece in pieces)
    drops = [drop for piece in pieces for drop in piece.drops]
    overfull = next((piece.overfull for piece in pieces if piece.overfull is not None), None)
    full = [piece for piece in pieces if len(piece.index)]
    if not full:
        return replace(pieces[0], rejects=rejects, duplicates=duplicates, drops=drops, overfull=overfull)
    index = np.concatenate([piece.index for piece in full])
    order = np.argsort(index, kind="stable")
    places = np.empty(len(index), np.int64)
    places[order] = np.arange(len(index))
    return Folded(
        index[order],
        np.concatenate([piece.rows for piece in full])[order],
        {name: join([piece.results[name] for piece in full], places) for name in full[0].results},
        rejects,
        duplicates=duplicates,
        drops=drops,
        overfull=overfull,
    )
