"""What a first configuration keeps of a file's events: as the options say, as a terminal answers, or as it looks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import click

from operators import MovingMean, OperatorError
from pipeline.cli.survey import Column, Survey
from pipeline.core.config.problem import mismatch, shown, unknown
from pipeline.errors import InputError

NONE = "-"
"""What stands for "no column" in an answer."""

_WINDOW = "20"
_MOST_VALUES = 8

_KEYS = "a column that has text or an integer in every event"
_TIMES = "a column that has RFC 3339 text, like 2026-03-01T12:00:00Z, or Unix time in every event"
_NUMBERS = "numbers have digits, a point and no unit, like 1234.5"

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """The answers that options gave; None where there was none."""

    key: str | None = None
    time: str | None = None
    values: str | None = None
    window: str | None = None


@dataclass(frozen=True)
class Plan:
    """The columns of the key and of the time, None where there is none; those to average; the moving mean's window."""

    key: Column | None
    time: Column | None
    values: Sequence[Column]
    window: int | str


def plan(survey: Survey, given: Given, *, ask: bool) -> Plan:
    """Answer each question: by its option, else by asking on the terminal if ``ask``, else by what looks right.

    Raises:
        InputError: an option names no such column, or there are no numbers to average.
    """
    _numbers(survey, None, None)
    key = _answer(
        "Key: the column whose values have averages of their own, or -",
        given.key,
        _name_of(_likely_key(survey)),
        lambda name: _column(survey, "--key", name, lambda column: column.is_key, _KEYS),
        ask=ask,
    )
    times = [column for column in survey.columns if column.looks_like_time and column is not key]
    time = _answer(
        "Time of the event: a column, or -",
        given.time,
        _name_of(times[0] if times else None),
        lambda name: _time(survey, name, key),
        ask=ask and bool(times),
    )
    numbers = _numbers(survey, key, time)
    likely = [column for column in numbers if column.looks_like_value] or numbers
    values = _answer(
        "Columns to average, by commas",
        given.values,
        _row([column.name for column in likely[:_MOST_VALUES]]),
        lambda names: _values(numbers, names),
        ask=ask,
    )
    window = _answer("Moving mean: over so many events, or a span like 1h", given.window, _WINDOW, _window, ask=ask)
    return Plan(key, time, values, window)


def _answer(question: str, given: str | None, default: str, read: Callable[[str], T], *, ask: bool) -> T:
    """What ``read`` makes of the answer; on a terminal the question comes again while that is an InputError."""
    if given is not None or not ask:
        return read(default if given is None else given)

    def heard(text: str) -> T:
        try:
            return read(text.strip())
        except InputError as error:
            raise click.UsageError(error.cause.partition(": ")[2]) from None

    answer: T = click.prompt(question, default=default, value_proc=heard)
    return answer


def _likely_key(survey: Survey) -> Column | None:
    likely = [column for column in survey.columns if column.looks_like_key]
    return next((column for column in likely if column.named_as_key), likely[0] if likely else None)


def _name_of(column: Column | None) -> str:
    return NONE if column is None else column.name


def _column(survey: Survey, option: str, name: str, fits: Callable[[Column], object], expected: str) -> Column | None:
    if name == NONE:
        return None
    columns = {column.name: column for column in survey.columns}
    if name not in columns:
        raise InputError(f"{option}: {unknown('column', name, list(columns))}")
    if not fits(columns[name]):
        raise InputError(f"{option}: {mismatch(name, expected)}")
    return columns[name]


def _time(survey: Survey, name: str, key: Column | None) -> Column | None:
    column = _column(survey, "--time", name, lambda column: column.time_unit, _TIMES)
    if column is not None and column is key:
        raise InputError(f"--time: {mismatch(name, 'another column than the key')}")
    return column


def _numbers(survey: Survey, key: Column | None, time: Column | None) -> list[Column]:
    """The columns of numbers besides key and time; there is at least one."""
    numbers = [column for column in survey.columns if column.is_number and column not in (key, time)]
    if not numbers:
        examples = [f"{column.name}: {shown(value)}" for column in survey.columns for value in column.values[:1]]
        raise InputError(f"found no column of numbers to average, but {', '.join(examples) or 'empty cells'}", _NUMBERS)
    return numbers


def _values(numbers: Sequence[Column], names: str) -> list[Column]:
    known = {column.name: column for column in numbers}
    (row,) = csv.reader([names], skipinitialspace=True)
    for name in row or [""]:
        if name not in known:
            raise InputError(f"--values: {unknown('column of numbers', name, list(known))}")
    return [known[name] for name in dict.fromkeys(row)]


def _row(names: Sequence[str]) -> str:
    """The names by commas; one that holds a comma is in quotation marks."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def _window(text: str) -> int | str:
    window = int(text) if text.isdecimal() else text
    try:
        MovingMean(value="x", window=window)
    except OperatorError as error:
        raise InputError(f"--window: {error}") from None
    return window
