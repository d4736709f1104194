"""Lengths of time as options give them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from operators.options import OperatorError, number

Duration = str | float
"""Text with a unit, such as "250ms"; in Python also a number of seconds. A file takes the text only."""

EXPECTED = 'a duration such as "250ms", "30s", "5m", "12h" or "7d"'

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def seconds(text: str) -> float:
    """The seconds of a duration in text. Raises ValueError with what was expected; a bare number has no unit."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED)
    return float(match[1]) * _MILLISECONDS[match[2]] / 1000


def length(option: str, given: object) -> float:
    """A duration above 0, in seconds. Raises OperatorError for anything else."""
    try:
        found = seconds(given) if isinstance(given, str) else number(option, given, EXPECTED)
    except ValueError:
        raise OperatorError(option, f"found {given!r}, expected {EXPECTED}") from None
    if found <= 0:
        raise OperatorError(option, f"found {given!r}, expected a duration above 0")
    return found


def lengths(option: str, given: object) -> tuple[float, ...]:
    """A list of at least one duration above 0, in seconds. Raises OperatorError for anything else."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise OperatorError(option, f'found {given!r}, expected a list of durations such as ["1m", "1h", "1d"]')
    return tuple(length(option, each) for each in given)
