"""Choosing what to fold: computed columns, the events for which a condition holds, and keys made of columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.batch import Reject
from pipeline.core.expression import Column, Kind, Mask
from pipeline.core.formats.document import Besides
from pipeline.core.formats.parsed import MISSING, NON_FINITE, Parsed, at
from pipeline.core.keys import join

if TYPE_CHECKING:
    from pipeline.core.config.model import Stream

LARGEST_WHOLE = 2.0**53
"""Up to this a double is one whole number and no other."""

Keys = list[bytes | None]


class _Key:
    """What a key is made of."""

    def __init__(self, key: str | tuple[str, ...] | None) -> None:
        self.fields = () if key is None else (key,) if isinstance(key, str) else key
        self.joined = isinstance(key, tuple)


class Chooser:
    """Applies a stream's ``select``, ``where`` and ``key`` to columns.

    ``scalars`` and ``ids`` are what tables read of the stream, selected names among them. Of an event has to be read:
    ``numbers``, and ``besides`` them fields of other kinds.
    """

    def __init__(self, stream: Stream, scalars: Collection[str], ids: Collection[str]) -> None:
        choice = stream.choice
        where = choice.where
        self._others = {table: _Key(key) for table, key in stream.table_keys.items()}
        fields = dict.fromkeys([*stream.key_fields, *(f for key in self._others.values() for f in key.fields)])
        used = {*scalars, *fields, *(where.names if where else ())}
        self._select = {name: expression for name, expression in choice.select.items() if name in used}
        self._where = where
        self._stream = stream
        self._scalars = frozenset(scalars)
        self._ids = frozenset(ids)
        expressions = [*self._select.values(), *([where] if where else [])]
        names = {name for expression in expressions for name in expression.names} - {*choice.select, stream.time}
        kinds = {name: choice.kinds[name] for name in sorted(names)}
        self.numbers = {*scalars, *(name for name, kind in kinds.items() if kind is Kind.NUMBER)} - {*choice.select}
        self.besides = Besides(
            [field for field in fields if field not in choice.select],
            {name: kind for name, kind in kinds.items() if kind is not Kind.NUMBER},
        )

    def choose(self, parsed: Parsed) -> Parsed:
        """The events that are kept, with the columns that tables read; what is bad about them is in ``flaws``."""
        count = len(parsed.index)
        given: dict[str, Column] = {**parsed.columns, **parsed.texts}
        if self._stream.time is not None and parsed.times is not None:
            given[self._stream.time] = parsed.times
        selected = {name: expression(given, count) for name, expression in self._select.items()}
        kept = np.ones(count, bool) if self._where is None else self._where({**given, **selected}, count).astype(bool)
        kept[list(parsed.flaws)] = False
        rows = np.flatnonzero(kept)
        sound = replace(parsed, rejects=[*parsed.rejects, *parsed.flaws.values()], flaws={}, texts={})
        return self._finished(at(sound, rows), {name: column[rows] for name, column in selected.items()})

    def _finished(self, chosen: Parsed, selected: Mapping[str, Column]) -> Parsed:
        """With keys and selected columns, and without what only expressions read."""
        if self._stream.time is not None and chosen.times is not None:
            _refuse(chosen, np.isnan(chosen.times), "decode", f"{MISSING}: {self._stream.time}")
        for name, column in selected.items():
            if self._select[name].kind is Kind.NUMBER:
                _refuse(chosen, np.isinf(column), "select", f"{NON_FINITE}: {name}")
        keys = self._keys(chosen, selected, _Key(self._stream.key))
        others = self._table_keys(chosen, selected)
        columns: dict[str, Any] = {**chosen.columns, **selected}
        wanted = self._scalars | set(self._stream.vectors)
        return replace(
            chosen,
            keys=keys,
            table_keys=others,
            columns={field: column for field, column in columns.items() if field in wanted},
            ids={field: ids for field, ids in chosen.ids.items() if field in self._ids},
        )

    def _table_keys(self, chosen: Parsed, selected: Mapping[str, Column]) -> dict[str, Keys]:
        """Each event's keys for the tables that have their own, None where it has none.

        It is a bad event for those alone, unless they are all there are.
        """
        found: dict[str, Keys] = {}
        flaws: dict[int, list[Reject]] = {}
        for table, key in self._others.items():
            alone = replace(chosen, flaws={})
            keys: Keys = [*(self._keys(alone, selected, key) or [])]
            for row, flaw in alone.flaws.items():
                keys[row] = None
                flaws.setdefault(row, []).append(replace(flaw, table=table))
            found[table] = keys
        for row, refused in flaws.items():
            if self._stream.keyless and len(refused) == len(self._others):
                chosen.flaws.setdefault(row, replace(refused[0], table=None))
            elif row not in chosen.flaws:
                chosen.rejects.extend(refused)
        return found

    def _keys(self, chosen: Parsed, selected: Mapping[str, Column], key: _Key) -> list[bytes] | None:
        """Each event's key, or None if it is the record's own."""
        parts: list[list[bytes]] = []
        for name in key.fields:
            part = chosen.ids[name] if name not in selected else self._part(chosen, name, selected[name])
            if None in part:
                lacking = np.array([value is None for value in part], bool)
                _refuse(chosen, lacking, "key", f"{MISSING}: {name}")
            parts.append([value or b"" for value in part] if None in part else part)  # type: ignore[arg-type]
        if not parts:
            return None
        return join(parts) if key.joined else parts[0]

    def _part(self, chosen: Parsed, name: str, column: Column) -> Keys:
        """A selected column as parts of keys: text as UTF-8, a whole number as decimal text."""
        if self._select[name].kind is Kind.TEXT:
            return [None if text is None else text.encode() for text in column.tolist()]
        whole = (np.abs(column) <= LARGEST_WHOLE) & (np.floor(column) == column)
        absent = np.isnan(column)
        _refuse(chosen, ~(whole | absent), "key", f"not a whole number: {name}")
        numbers: Keys = list(map(b"%d".__mod__, np.where(whole, column, 0.0).astype(np.int64).tolist()))
        for row in np.flatnonzero(absent).tolist():
            numbers[row] = None
        return numbers


def _refuse(chosen: Parsed, rows: Mask, stage: str, reason: str) -> None:
    """Make bad events of these rows, unless they are already."""
    for row in np.flatnonzero(rows).tolist():
        chosen.flaws.setdefault(row, Reject(int(chosen.index[row]), stage, reason))
