"""What every format makes of a batch's values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Protocol, TypeVar

import numpy as np

from pipeline.core.batch import Floats, Ints, Reject
from pipeline.core.expression import Texts

T = TypeVar("T")

UNITS: Mapping[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""How many of a time unit make a second."""

NON_FINITE = "non-finite number"
NULL_VALUE = "null value"
MISSING = "missing or null"


@dataclass
class Parsed:
    """The n values of a batch that could be read, as columns of n rows, and a reject for each of the others.

    ``index`` is each row's place in the batch. ``keys`` and ``times`` (Unix seconds) are None where the value has no
    such field. ``flaws`` are the rows that turned out bad after all: row -> reject. ``ids`` are the fields that tell
    events apart, ``texts`` the fields with text that expressions read, both None where one is absent or null.
    """

    index: Ints
    keys: list[bytes] | None
    times: Floats | None
    columns: dict[str, Floats]
    rejects: list[Reject] = field(default_factory=list)
    flaws: dict[int, Reject] = field(default_factory=dict)
    ids: dict[str, list[bytes | None]] = field(default_factory=dict)
    texts: dict[str, Texts] = field(default_factory=dict)
    table_keys: dict[str, list[bytes | None]] = field(default_factory=dict)


class Format(Protocol):
    """A way to read values."""

    def parse(self, values: list[bytes | None]) -> Parsed:
        """The values as columns; never raises because of what a value holds."""


def joined(parts: Sequence[Parsed]) -> Parsed:
    """What was made of the neighbouring parts of a batch."""
    if len(parts) == 1:
        return parts[0]
    flaws: dict[int, Reject] = {}
    rows = 0
    for part in parts:
        flaws |= {rows + row: flaw for row, flaw in part.flaws.items()}
        rows += len(part.index)
    keys, times = [part.keys for part in parts], [part.times for part in parts]
    return Parsed(
        np.concatenate([part.index for part in parts]),
        None if keys[0] is None else list(chain.from_iterable(keys)),  # type: ignore[arg-type] # all or none have them
        None if times[0] is None else np.concatenate(times),  # type: ignore[arg-type]
        {field: np.concatenate([part.columns[field] for part in parts]) for field in parts[0].columns},
        [reject for part in parts for reject in part.rejects],
        flaws,
        {field: list(chain.from_iterable(part.ids[field] for part in parts)) for field in parts[0].ids},
        {field: np.concatenate([part.texts[field] for part in parts]) for field in parts[0].texts},
    )


def at(parsed: Parsed, rows: Ints) -> Parsed:
    """What was made of the values in these ascending rows, none of which has a flaw."""
    if len(rows) == len(parsed.index):
        return parsed
    return Parsed(
        parsed.index[rows],
        None if parsed.keys is None else pick(parsed.keys, rows),
        None if parsed.times is None else parsed.times[rows],
        {field: column[rows] for field, column in parsed.columns.items()},
        parsed.rejects,
        ids={field: pick(ids, rows) for field, ids in parsed.ids.items()},
        texts={field: texts[rows] for field, texts in parsed.texts.items()},
    )


def places_without(count: int, places: Collection[int]) -> Ints:
    """The numbers from 0 to ``count``, less those in ``places``."""
    kept = np.ones(count, bool)
    kept[list(places)] = False
    return np.flatnonzero(kept)


def pick(items: list[T], places: Ints) -> list[T]:
    """The items at these ascending places; the list itself if that is all of it."""
    if len(places) == len(items):
        return items
    kept = np.zeros(len(items), np.uint8)
    kept[places] = 1
    return list(compress(items, kept.tobytes()))


def find_non_finite(columns: Mapping[str, Floats]) -> list[tuple[int, str]]:
    """The rows and fields with a number that is not finite."""
    found: list[tuple[int, str]] = []
    for name, column in columns.items():
        finite = np.isfinite(column)
        if not finite.all():
            rows = np.flatnonzero(~(finite if column.ndim == 1 else finite.all(axis=1)))
            found += [(row, name) for row in rows.tolist()]
    return found
