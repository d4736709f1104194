"""Checks of the options that operators share; every message says what was found and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence


class OperatorError(ValueError):
    """An option of an operator that can't be used: ``option`` names it, the message says what was expected."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def field_names(option: str, given: object) -> str | tuple[str, ...]:
    """The name of a field, or a tuple of names of scalar fields."""
    if isinstance(given, str) and given:
        return given
    if isinstance(given, Sequence) and not isinstance(given, str) and given and all(_is_name(name) for name in given):
        return tuple(given)
    raise _mismatch(option, given, "the name of a field, or a list of names of scalar fields")


def one_of(option: str, given: object, choices: Sequence[str]) -> None:
    """One of a few words."""
    if given not in choices:
        raise _mismatch(option, given, "one of " + ", ".join(f'"{choice}"' for choice in choices))


def flag(option: str, given: object) -> None:
    """True or false."""
    if not isinstance(given, bool):
        raise _mismatch(option, given, "true or false")


def whole(option: str, given: object, what: str, *, at_least: int = 1, at_most: int | None = None) -> None:
    """A whole number within bounds; ``what`` says of what."""
    if isinstance(given, int) and not isinstance(given, bool) and at_least <= given <= (at_most or given):
        return
    bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
    raise _mismatch(option, given, f"a whole number {what}, {bounds}")


def number(option: str, given: object, expected: str) -> float:
    """A finite number; ``expected`` says which, in words."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise _mismatch(option, given, expected)
    return float(given)


def numbers(option: str, given: object, expected: str) -> tuple[float, ...]:
    """A list of at least one finite number; ``expected`` says which, in words."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise _mismatch(option, given, expected)
    return tuple(number(option, each, expected) for each in given)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != ""


def _mismatch(option: str, given: object, expected: str) -> OperatorError:
    return OperatorError(option, f"found {given!r}, expected {expected}")
