"""The books of a run: what the source says must have come out, beside what came out, record by record.

Plain Python and exact fractions. It is told records in the order in which each partition has them, in any order between
partitions, and keeps only what is not settled yet.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from typing import Any, cast

from tests.core.decoding import strict
from tests.faults.arena import TABLES, TOLERANCE

WINDOW = 5

Place = tuple[str, int, int]
"""Stream, partition and offset of an event."""

Raw = tuple[bytes | None, bytes | None]
"""Key and value as they were sent."""


Refusal = tuple[Place, str | None]
"""A dead letter's event, and the table that refused it; None if it could not be read at all."""


class Unreadable(Exception):
    """No table can make anything of the event."""


def value_of(raw: bytes | None) -> float | None:
    """The number in an event; None if it is not there, which each table refuses for itself. Raises `Unreadable`."""
    try:
        x = cast(Any, strict(raw or b"")).get("x")
    except (ValueError, AttributeError, RecursionError) as error:
        raise Unreadable from error
    if x is None:
        return None
    if not isinstance(x, int | float) or isinstance(x, bool) or not isfinite(x):
        raise Unreadable
    return float(x)


def refusers(stream: str, raw: bytes | None) -> list[str | None]:
    """Who refuses an event: nobody, each table of the stream, or, once, the stream."""
    try:
        missing = value_of(raw) is None
    except Unreadable:
        return [None]
    return [table for table, source in TABLES.items() if source == stream] if missing else []


@dataclass
class Entry:
    """The state of a key after the event at ``offset``."""

    offset: int
    games: int
    average: float
    last: float


@dataclass
class Fold:
    """All events of a key, folded exactly."""

    games: int = 0
    total: Fraction = Fraction(0)
    recent: deque[Fraction] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(self, offset: int, x: float) -> Entry:
        """One event more."""
        exact = Fraction(x)
        self.games += 1
        self.total += exact
        self.recent.append(exact)
        recent = float(sum(self.recent, Fraction(0)) / len(self.recent))
        return Entry(offset, self.games, float(self.total / self.games), recent)


class Ledger:
    """Tell it the source by `event`, the outputs by `output`, the dead letters by `letter`; at the end, `close` it."""

    def __init__(self) -> None:
        self.events = 0
        self.bad = 0
        self.outputs: Counter[str] = Counter()
        self.letters = 0
        self.violations: list[str] = []
        self.folds: dict[str, defaultdict[str, Fold]] = {stream: defaultdict(Fold) for stream in set(TABLES.values())}
        self.reached: dict[tuple[str, int], int] = {}
        """By stream and partition, the offset after the last event whose result or dead letter was seen."""
        self._due: dict[str, dict[str, deque[Entry]]] = {table: defaultdict(deque) for table in TABLES}
        self._came: dict[str, dict[str, deque[Mapping[str, Any]]]] = {table: defaultdict(deque) for table in TABLES}
        self._letters_due: dict[Refusal, Raw] = {}
        self._letters_came: dict[Refusal, list[Raw]] = defaultdict(list)

    def event(self, stream: str, partition: int, offset: int, raw: Raw) -> None:
        """What the source holds."""
        key, value = raw
        assert key is not None
        self.events += 1
        if refused := refusers(stream, value):
            self.bad += 1
            for table in refused:
                refusal = ((stream, partition, offset), table)
                self._letters_due[refusal] = raw
                self._match_letters(refusal)
            return
        x, name = value_of(value), key.decode()
        assert x is not None
        entry = self.folds[stream][name].add(offset, x)
        for table, source in TABLES.items():
            if source == stream:
                self._due[table][name].append(entry)
                self._match(table, name)

    def output(self, table: str, value: bytes) -> None:
        """What a table published."""
        output = json.loads(value)
        self.outputs[table] += 1
        self._reach(TABLES[table], output["partition"], output["offset"])
        self._came[table][output["key"]].append(output)
        self._match(table, output["key"])

    def letter(self, place: Place, table: str | None, raw: Raw) -> None:
        """What was refused."""
        self.letters += 1
        self._reach(*place)
        self._letters_came[place, table].append(raw)
        self._match_letters((place, table))

    def close(self) -> None:
        """Nothing more comes: what is still open is wrong."""
        for table in TABLES:
            for key, entries in self._due[table].items():
                if entries:
                    self.violations.append(
                        f"{table}: {key} lacks {len(entries)} results, the first at offset {entries[0].offset}"
                    )
            for key, outputs in self._came[table].items():
                for output in outputs:
                    self.violations.append(f"{table}: {key} has a result for offset {output['offset']} too many")
        for refusal in self._letters_due:
            self.violations.append(f"the bad event at {refusal} has no dead letter")
        for refusal, letters in self._letters_came.items():
            if letters:
                self.violations.append(f"{refusal} has {len(letters)} dead letters too many")

    def _reach(self, stream: str, partition: int, offset: int) -> None:
        where = (stream, partition)
        self.reached[where] = max(offset + 1, self.reached.get(where, 0))

    def _match(self, table: str, key: str) -> None:
        """Settle what both sides know. ``emit = "commit"`` may leave out results that a later one has overtaken."""
        due, came = self._due[table][key], self._came[table][key]
        while due and came:
            entry, output = due[0], came[0]
            if output["offset"] == entry.offset:
                self._compare(table, key, entry, output)
                due.popleft()
                came.popleft()
            elif output["offset"] < entry.offset:
                self.violations.append(
                    f"{table}: {key} has the result for offset {output['offset']} again, or too late"
                )
                came.popleft()
            else:
                if table != "latest":
                    self.violations.append(f"{table}: {key} lacks the result for offset {entry.offset}")
                due.popleft()

    def _compare(self, table: str, key: str, entry: Entry, output: Mapping[str, Any]) -> None:
        where = f"{table}: {key} at offset {entry.offset}"
        if output["games"] != entry.games:
            self.violations.append(f"{where} shows {output['games']} events, not {entry.games}")
        for name, exact in (("average", entry.average), ("last", entry.last)):
            if name in output and not abs(output[name] - exact) <= TOLERANCE:
                self.violations.append(f"{where} shows {name} {output[name]}, not {exact}")

    def _match_letters(self, refusal: Refusal) -> None:
        letters = self._letters_came[refusal]
        if letters and refusal in self._letters_due:
            same = letters.pop() == self._letters_due.pop(refusal)
            if not same:
                self.violations.append(f"the dead letter of {refusal} has other bytes")
        if not letters:
            del self._letters_came[refusal]
