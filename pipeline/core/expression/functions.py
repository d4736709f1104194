"""The functions of expressions. Undefined results are NaN, or None for a text; none of them raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from pipeline.core.batch import Floats
from pipeline.core.expression.kind import Column, Kind, Mask, Texts

DAY = 86_400.0
HOUR = 3_600.0
_NONE = np.array(None, object)
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31, in days since 1970."""


@dataclass(frozen=True)
class Function:
    """A function: what it takes, what it gives, and how many arguments there may be (``most`` None: any number).

    ``takes`` is None if it takes a value of any kind.
    """

    call: Callable[..., Any]
    doc: str
    takes: Kind | None = Kind.NUMBER
    gives: Kind = Kind.NUMBER
    least: int = 1
    most: int | None = 1


def null(column: Column) -> Mask:
    """Where there is no value."""
    mask: Mask = np.equal(column, _NONE) if column.dtype == object else np.isnan(column)
    return mask


def day(seconds: Floats) -> Texts:
    """The days in UTC, each made once."""
    days = np.floor(np.divide(seconds, DAY))
    days = np.where((days >= _FIRST_DAY) & (days <= _LAST_DAY), days, np.nan)
    distinct, places = np.unique(days, return_inverse=True)
    names = np.empty(len(distinct), object)
    known = ~np.isnan(distinct)
    names[known] = np.datetime_as_string(distinct[known].astype("datetime64[D]")).tolist()
    return np.asarray(names[places.reshape(np.shape(seconds))], object)


def hour(seconds: Floats) -> Floats:
    """The hours in UTC."""
    return np.mod(np.floor(np.divide(seconds, HOUR)), 24.0)


def _each(change: Callable[[str], str]) -> Callable[[Texts], Texts]:
    changed = np.frompyfunc(lambda text: None if text is None else change(text), 1, 1)
    return lambda column: np.asarray(changed(column), object)


FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(np.abs, "without its sign"),
    "sqrt": Function(np.sqrt, "the square root"),
    "exp": Function(np.exp, "e to the power of x"),
    "log": Function(np.log, "the natural logarithm"),
    "log2": Function(np.log2, "the logarithm to base 2"),
    "log10": Function(np.log10, "the logarithm to base 10"),
    "sin": Function(np.sin, "the sine of x in radians"),
    "cos": Function(np.cos, "the cosine of x in radians"),
    "floor": Function(np.floor, "the next whole number below"),
    "ceil": Function(np.ceil, "the next whole number above"),
    "round": Function(np.round, "the nearest whole number, of two the even one"),
    "min": Function(lambda *columns: reduce(np.minimum, columns), "the smallest; null if one is", least=2, most=None),
    "max": Function(lambda *columns: reduce(np.maximum, columns), "the largest; null if one is", least=2, most=None),
    "is_null": Function(null, "whether x is absent, null or undefined", takes=None, gives=Kind.BOOLEAN),
    "date": Function(day, 'the day of a Unix time in UTC, like "2026-03-29"', gives=Kind.TEXT),
    "hour": Function(hour, "the hour of a Unix time in UTC, from 0 to 23"),
    "lower": Function(_each(str.lower), "in lower case", takes=Kind.TEXT, gives=Kind.TEXT),
    "upper": Function(_each(str.upper), "in upper case", takes=Kind.TEXT, gives=Kind.TEXT),
}
"""By name. NumPy's, but for those of texts and times."""
