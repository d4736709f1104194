"""What came out, held against the direct computation over what went in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pipeline.edges.demo.exact import Event, Number, results

TOLERANCE = 1e-12
"""Of the larger of the exact value and the weighted mean of the magnitudes it is made of."""

Operators = Mapping[str, Mapping[str, Any]]


@dataclass
class TableCheck:
    """One table's outputs beside the expected ones; ``errors`` holds each operator's largest error."""

    table: str
    events: int
    expected: int = 0
    outputs: int = 0
    keys: int = 0
    misplaced: int = 0
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """One output for each event that has one, in order, and every number right."""
        return self.outputs == self.expected and not self.misplaced and max(self.errors.values()) <= TOLERANCE


def check(
    table: str, operators: Operators, inputs: Iterable[tuple[str, Event, float]], outputs: Iterable[Event]
) -> TableCheck:
    """Compare a table's output records, in the order of their partitions, with its input events.

    An input is (key, event, Unix time), in the order in which a key's events were sent. An output is *misplaced* if it
    is not the next one of its key: a gap, a repeat, a swap, or a key in two partitions.
    """
    sent: dict[str, list[tuple[Event, float]]] = {}
    for key, event, time in inputs:
        sent.setdefault(key, []).append((event, time))
    read: dict[str, list[Event]] = {}
    for output in outputs:
        read.setdefault(output["key"], []).append(output)
    found = TableCheck(table, sum(map(len, sent.values())), keys=len(sent), errors=dict.fromkeys(operators, 0.0))
    for key in sent.keys() | read.keys():
        expected = results(operators, sent.get(key, []))
        got = read.get(key, [])
        found.expected += len(expected)
        found.outputs += len(got)
        found.misplaced += _misplaced(got)
        for output, exact in zip(got, expected, strict=False):
            for name, numbers in exact.items():
                found.errors[name] = max(found.errors[name], _error(output.get(name), numbers))
    return found


def _misplaced(outputs: Sequence[Event]) -> int:
    places = [(output["partition"], output["offset"]) for output in outputs]
    return sum(p != q or i >= j for (p, i), (q, j) in pairwise(places))


def _error(result: object, exact: Sequence[Number]) -> float:
    got = flat(result)
    if got == [None]:
        got = got * len(exact)
    if len(got) != len(exact):
        return math.inf
    return max(number.error(value) for number, value in zip(exact, got, strict=True))


def flat(result: object) -> list[float | None]:
    """The numbers of a result in order: of a number, a list, or an object of those."""
    if isinstance(result, Mapping):
        return [number for part in result.values() for number in flat(part)]
    if isinstance(result, list):
        return [number for part in result for number in flat(part)]
    return [result if isinstance(result, int | float) else None]
