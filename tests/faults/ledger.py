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


def value_of(raw: bytes | None) -> float | None:
    """The number in an event; None if the event is bad."""
    try:
        x = cast(Any, strict(raw or b""))["x"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    sound = isinstance(x, int | float) and not isinstance(x, bool) and isfinite(x)
    return float(x) if sound else None


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
        self._letters_due: dict[Place, Raw] = {}
        self._letters_came: dict[Place, list[Raw]] = defaultdict(list)

    def event(self, stream: str, partition: int, offset: int, raw: Raw) -> None:
        """What the source holds."""
        key, value = raw
        assert key is not None
        self.events += 1
        x = value_of(value)
        if x is None:
            self.bad += 1
            place = (stream, partition, offset)
            self._letters_due[place] = raw
            self._match_letters(place)
            return
        name = key.decode()
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

    def letter(self, place: Place, raw: Raw) -> None:
        """What was refused."""
        self.letters += 1
        self._reach(*place)
        self._letters_came[place].append(raw)
        self._match_letters(place)

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
        for place in self._letters_due:
            self.violations.append(f"the bad event at {place} has no dead letter")
        for place, letters in self._letters_came.items():
            if letters:
                self.violations.append(f"{place} has {len(letters)} dead letters too many")

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

    def _match_letters(self, place: Place) -> None:
        letters = self._letters_came[place]
        if letters and place in self._letters_due:
            same = letters.pop() == self._letters_due.pop(place)
            if not same:
                self.violations.append(f"the dead letter of {place} has other bytes")
        if not letters:
            del self._letters_came[place]
