"""What a memory is given: columns of events, and queries, as its operator takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from operators.columns.grouping import Floats, Ints, group
from operators.operator import Batch, Operator, Shape
from operators.state.rows import read_only


class Columns(Protocol):
    """Anything that gives a column by the name of a field: a dict of arrays, a data frame."""

    def __getitem__(self, field: str, /) -> Any:
        """The column."""


class Inputs:
    """The inputs of an operator by role: the fields that they are read from, and the shapes that they have.

    ``vectors`` are the fields that are arrays of numbers, with their lengths; every other field is one number.
    """

    def __init__(self, operator: Operator, vectors: Mapping[str, int]) -> None:
        self._name = type(operator).__name__
        self._fields = operator.inputs()
        self.shapes: Mapping[str, Shape] = {role: _shape(fields, vectors) for role, fields in self._fields.items()}

    def read(self, n: int, columns: Columns | None, times: Any) -> tuple[dict[str, Floats], Floats]:
        """The inputs by role and the times of n events. Raises ValueError."""
        inputs = {role: _column(columns, fields) for role, fields in self._fields.items()}
        inputs |= {"time": np.zeros(n) if times is None else np.asarray(times, float)}
        for role, column in inputs.items():
            expected = (n, *self.shapes.get(role, ()))
            if column.shape != expected:
                raise ValueError(f"{role}: found the shape {column.shape}, expected {expected}")
            if not np.isfinite(column).all():
                raise ValueError(f"{role}: found a number that is not finite")
        return inputs, inputs.pop("time")

    def query(self, query: Any, keys: int) -> Floats | None:
        """A query for each key. Raises ValueError."""
        if query is None:
            return None
        if "key" not in self.shapes:
            raise ValueError(f"{self._name} takes no query")
        given, length = np.asarray(query, float), self.shapes["key"]
        if given.shape not in {length, (keys, *length)}:
            raise ValueError(f"query: found the shape {given.shape}, expected {length}, or one for each key")
        return np.broadcast_to(given, (keys, *length))


def batched(rows: Ints, inputs: Mapping[str, Floats], times: Floats) -> tuple[Ints, Batch]:
    """The distinct rows of events, and the events grouped by them."""
    distinct, groups = group(rows)
    columns = {role: read_only(column[groups.order]) for role, column in inputs.items()}
    return distinct, Batch(groups, columns, read_only(times[groups.order]))


def _shape(fields: str | tuple[str, ...], vectors: Mapping[str, int]) -> Shape:
    if isinstance(fields, str):
        return (vectors[fields],) if fields in vectors else ()
    return (len(fields),)


def _column(columns: Columns | None, fields: str | tuple[str, ...]) -> Floats:
    if columns is None:
        raise ValueError(f"found no columns, expected {fields!r}")
    if isinstance(fields, str):
        return np.asarray(columns[fields], float)
    return np.stack([np.asarray(columns[field], float) for field in fields], axis=1)
