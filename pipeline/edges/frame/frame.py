"""Columns of results, one row a key, that pandas, Polars and notebooks take as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.encode import HEAD
from pipeline.core.shown import cell, moment

Column = npt.NDArray[Any]

_ROWS_SHOWN = 20


class TableFrame:
    """The latest output record of each key of a table, in the order of the keys.

    ``columns`` are arrays of as many rows, by name: ``key``, ``time`` (Unix seconds), ``partition``, ``offset``, then a
    field an operator, the parts of a nested one as ``name.part``. Numbers are int64 or float64, undefined ones NaN;
    vectors and matrices are arrays of two or three dimensions where all keys have them in one shape. Everything else is
    an array of Python objects.
    """

    def __init__(self, table: str, columns: Mapping[str, Column]) -> None:
        self.table = table
        self.columns = dict(columns)

    @classmethod
    def of(cls, table: str, records: Sequence[Mapping[str, Any]], *, flatten: bool = True) -> TableFrame:
        """Of output records. With ``flatten=False`` a nested field stays one column, of dicts."""
        rows = [_flat(record) for record in records] if flatten else records
        names = dict.fromkeys([*HEAD, *(name for row in rows for name in row)])
        return cls(table, {name: _column([row.get(name) for row in rows]) for name in names})

    def to_pandas(self) -> Any:
        """As a pandas.DataFrame, its index the key; ``time`` as dates, in UTC. Raises ImportError without pandas."""
        pandas = _library("pandas", "to_pandas")
        frame = pandas.DataFrame({name: list(column) if column.ndim > 1 else column for name, column in self._items()})
        frame["time"] = pandas.to_datetime(frame["time"], unit="s", utc=True, errors="coerce").dt.round("ms")
        return frame.set_index("key")

    def to_polars(self) -> Any:
        """As a polars.DataFrame; ``time`` as dates, in UTC. Raises ImportError without Polars."""
        polars = _library("polars", "to_polars")
        columns = {name: column.tolist() if column.dtype == object else column for name, column in self._items()}
        milliseconds = polars.Series(np.round(self.columns["time"] * 1000)).cast(polars.Int64, strict=False)
        return polars.DataFrame(columns | {"time": milliseconds.cast(polars.Datetime("ms", "UTC"))}, strict=False)

    def _items(self) -> list[tuple[str, Column]]:
        return list(self.columns.items())

    def __len__(self) -> int:
        return len(self.columns["key"])

    def __repr__(self) -> str:
        return f"<TableFrame {self.table}: {_keys(len(self))}, {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """The first rows, for notebooks."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = "".join(f"<tr>{self._html_row(row)}</tr>" for row in range(min(len(self), _ROWS_SHOWN)))
        more = f", the first {_ROWS_SHOWN} are shown" if len(self) > _ROWS_SHOWN else ""
        caption = escape(f"{self.table}: {_keys(len(self))}{more}")
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _html_row(self, row: int) -> str:
        return "".join(f"<td>{escape(_text(name, column[row]))}</td>" for name, column in self._items())


def _keys(number: int) -> str:
    return f"{number:,} key" if number == 1 else f"{number:,} keys"


def _text(name: str, value: Any) -> str:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if name == "time" and isinstance(plain, float):
        return moment(plain)
    if isinstance(plain, float) and np.isnan(plain):
        return cell(None)
    return plain if isinstance(plain, str) else cell(plain)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """With the parts of what is nested as ``name.part``."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _column(values: list[Any]) -> Column:
    """The values as the tightest array that loses none of them."""
    given = [value for value in values if value is not None]
    if given and len(given) == len(values) and all(type(value) is int for value in given):
        return _array(values, np.int64)
    if all(type(value) in (int, float) for value in given):
        return _array([np.nan if value is None else value for value in values], np.float64)
    if all(isinstance(value, list) for value in given):
        return _vectors(values, given[0])
    return _objects(values)


def _vectors(values: list[Any], first: list[Any]) -> Column:
    try:
        undefined = np.full_like(np.array(first, np.float64), np.nan).tolist()
        return np.array([undefined if value is None else value for value in values], np.float64)
    except (TypeError, ValueError):
        return _objects(values)


def _array(values: list[Any], dtype: npt.DTypeLike) -> Column:
    try:
        return np.array(values, dtype)
    except OverflowError:
        return _objects(values)


def _objects(values: list[Any]) -> Column:
    column = np.empty(len(values), object)
    for row, value in enumerate(values):
        column[row] = value
    return column


def _library(name: str, method: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{method} needs {name}: pip install {name}") from error
