"""Which keys a table drops: by a null value, because nothing came for too long, or to make room for another.

That is decided for each event in its turn, so it does not depend on where batches are split. A key that was dropped and
comes again gets another row, so that all that a batch brings can be folded at once, what came before and what came
after. Nothing changes until the fold is sound: a :class:`Plan` can be thrown away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from operators.state.keys import KeyIndex
from pipeline.core.arrivals import Arrivals
from pipeline.core.batch import Deletes, Events, Ints
from pipeline.core.clock import Clock, Passed

if TYPE_CHECKING:
    from pipeline.core.config.model import Table

Reason = Literal["null", "ttl", "max_keys"]


class Drop(NamedTuple):
    """A key that goes, just before the record at this place of the wire batch, and its row."""

    place: int
    key: bytes
    row: int
    reason: Reason


@dataclass(frozen=True)
class Steps:
    """What happens to a table, in order of arrival: some events of a batch, by their places in it, and deletes."""

    events: Events
    index: Ints
    deletes: Deletes

    @property
    def keys(self) -> list[bytes]:
        """The key of each event."""
        keys = self.events.keys
        return keys if len(self.index) == len(keys) else [keys[i] for i in self.index.tolist()]

    def halves(self) -> tuple[Steps, Steps]:
        """The first half of the events with the deletes before the others, and the rest."""
        middle = len(self.index) // 2
        first, second = self.deletes.split(int(self.events.index[self.index[middle]]))
        return Steps(self.events, self.index[:middle], first), Steps(self.events, self.index[middle:], second)

    def without_events(self) -> Steps:
        """The deletes alone."""
        return Steps(self.events, self.index[:0], self.deletes)


@dataclass
class Plan:
    """What would become of some steps: each event's row, the drops in order, and the clock afterwards.

    ``bound`` keys have got their rows already; ``taken`` rows belong to no key yet, ``born`` says to which they come
    (None: the key has none in the end). ``overfull`` is the offset of the first event that brings a key too many.
    """

    rows: Ints
    clock: Clock | None
    bound: int = 0
    drops: list[Drop] = field(default_factory=list)
    born: dict[bytes, int | None] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    overfull: int | None = None


class Lifetimes:
    """Decides for one table's partition. ``last[row]`` is always the offset of a row's last event."""

    def __init__(self, table: Table, index: KeyIndex[bytes]) -> None:
        self.bounded = table.ttl is not None or table.max_keys is not None
        self._max_keys = table.max_keys
        self._evicts = table.on_full == "evict"
        self._clock = None if table.ttl is None else Clock(table.ttl, Passed())
        self._index = index
        self._arrivals = Arrivals()

    def plan(self, steps: Steps, last: Ints) -> Plan:
        """What becomes of these steps."""
        clock, expiries = self._clock, list[tuple[int, int]]()
        if clock is not None:
            events = steps.events
            clock, expiries = clock.after(events.times[steps.index], events.offsets[steps.index])
        if not expiries and not len(steps.deletes):
            born = self._index.born
            rows = self._index.rows(steps.keys)
            bound = self._index.born - born
            if self._max_keys is None or not bound or len(self._index) <= self._max_keys:
                return Plan(rows, clock, bound)
            self._index.drop(self._index.newest(bound))
        return _Walk(self._index, self._arrivals.oldest(last), self._max_keys, evict=self._evicts).along(
            steps, expiries, clock
        )

    def discard(self, plan: Plan) -> None:
        """It will not be."""
        self._index.drop(self._index.newest(plan.bound))
        self._index.give_back(plan.taken)

    def accept(self, plan: Plan, rows: Ints, last: Ints) -> None:
        """It has been: ``rows`` had events, and those of the drops are clear again."""
        self._clock = plan.clock
        if plan.drops:
            self._index.drop(drop.key for drop in plan.drops if drop.row not in plan.taken)
        alive = {key: row for key, row in plan.born.items() if row is not None}
        for key, row in alive.items():
            self._index.bind(key, row)
        self._index.give_back(plan.taken.difference(alive.values()))
        if self.bounded:
            self._arrivals.append(rows, last)

    # What a changelog keeps

    @property
    def passed(self) -> Passed | None:
        """What the clock knows, if there is one."""
        return None if self._clock is None else self._clock.passed

    def restore(self, passed: Passed | None, rows: Ints, last: Ints) -> None:
        """Go on from where a changelog ended, with these rows."""
        if self._clock is not None and passed is not None:
            self._clock = Clock(self._clock.ttl, passed)
        if self.bounded:
            self._arrivals.append(rows, last)

    @property
    def nbytes(self) -> int:
        """Bytes that the queue of rows takes."""
        return self._arrivals.nbytes if self.bounded else 0


class _Walk:
    """Goes through steps one by one. A batch in which no key goes needs none."""

    def __init__(
        self, index: KeyIndex[bytes], oldest: Iterator[tuple[int, int]], max_keys: int | None, *, evict: bool
    ) -> None:
        self._index = index
        self._oldest = oldest
        self._head = next(oldest, None)
        self._room = None if max_keys is None else max_keys - len(index)
        self._evict = evict
        self._recent: OrderedDict[int, int] = OrderedDict()
        self._gone: set[int] = set()
        self._plan = Plan(np.zeros(0, np.int64), None)

    def along(self, steps: Steps, expiries: list[tuple[int, int]], clock: Clock | None) -> Plan:
        """The plan of these steps."""
        keys, plan, recent = steps.keys, self._plan, self._recent
        places = steps.events.index[steps.index].tolist()
        offsets = steps.events.offsets[steps.index].tolist()
        pending = chain(zip(steps.deletes.places, steps.deletes.keys, strict=True), [(None, b"")])
        null, null_key = next(pending)
        due = chain(expiries, [(None, 0)])
        expiry, before = next(due)
        rows: list[int] = []
        for n, (key, row, place, offset) in enumerate(
            zip(keys, map(self._index.get, keys), places, offsets, strict=True)
        ):
            while null is not None and null < place:
                self._delete(null, null_key)
                null, null_key = next(pending)
            if n == expiry:
                self._expire(place, before)
                expiry, before = next(due)
            if key in plan.born:
                row = plan.born[key]  # noqa: PLW2901  what the index says is not so any more
            if row is None:
                row = self._bear(key, place, offset)  # noqa: PLW2901
            recent[row] = offset
            recent.move_to_end(row)
            rows.append(row)
        while null is not None:
            self._delete(null, null_key)
            null, null_key = next(pending)
        plan.rows, plan.clock = np.array(rows, np.int64), clock
        return plan

    def _bear(self, key: bytes, place: int, offset: int) -> int:
        """A row for a key that has none."""
        plan = self._plan
        if self._room is not None:
            while self._evict and self._room <= 0 and (oldest := self._next()) is not None:
                self._drop(oldest[0], place, "max_keys")
            if self._room <= 0 and plan.overfull is None:
                plan.overfull = offset
            self._room -= 1
        row = plan.born[key] = self._index.take(key)
        plan.taken.add(row)
        return row

    def _delete(self, place: int, key: bytes) -> None:
        row = self._plan.born[key] if key in self._plan.born else self._index.get(key)
        if row is not None:
            self._drop(row, place, "null")

    def _expire(self, place: int, before: int) -> None:
        """Drop the keys whose last event is before this offset."""
        while (found := self._next()) is not None and found[1] < before:
            self._drop(found[0], place, "ttl")

    def _next(self) -> tuple[int, int] | None:
        """The row whose last event is the oldest of all, and that event's offset; None if there are no rows."""
        while self._head is not None:
            if self._head[0] not in self._recent and self._head[0] not in self._gone:
                return self._head
            self._head = next(self._oldest, None)
        return next(iter(self._recent.items()), None)

    def _drop(self, row: int, place: int, reason: Reason) -> None:
        key, plan = self._index.keys[row], self._plan
        self._gone.add(row)
        self._recent.pop(row, None)
        if self._room is not None:
            self._room += 1
        plan.born[key] = None
        plan.drops.append(Drop(place, key, row, reason))
