"""Operators from a configuration file: ``{ type = "mean", value = "score" }``."""

from __future__ import annotations

import dataclasses
import importlib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from operators import TYPES, Operator, OperatorError
from operators.duration import EXPECTED
from pipeline.core.config.problem import ConfigError, Path, Problem, mismatch, shown, unknown

_EXPECTED_TYPE = 'the name of an operator, or "module:Name" for one of your own'


def type_name(operator: Operator) -> str:
    """What ``type`` is for an operator: a name of ours, or ``module:Name``."""
    cls = type(operator)
    return next((name for name, known in TYPES.items() if known is cls), f"{cls.__module__}:{cls.__qualname__}")


def make_operator(given: Mapping[str, Any]) -> Operator:
    """The operator of a table of ``type`` and options. Raises ConfigError with all that is wrong in it."""
    if "type" not in given:
        raise ConfigError([Problem(("type",), f"is missing, expected {_EXPECTED_TYPE}")])
    cls = _find(given["type"])
    options = {name: value for name, value in given.items() if name != "type"}
    problems = [*_misfits(cls, options)]
    if problems:
        raise ConfigError(problems)
    try:
        return cls(**options)
    except OperatorError as error:
        raise ConfigError([Problem((error.option,), str(error))]) from None
    except Exception as error:
        raise ConfigError([Problem((), f"{cls.__name__} failed: {_one_line(error)}")]) from error


def takes_duration(hint: Any) -> bool:
    """Whether an option of that type is a duration: text with a unit or, in Python only, seconds."""
    return _is_union(hint) and {str, float} <= set(get_args(hint))


def listed(hint: Any) -> Any | None:
    """The type of what a list holds, for an option of a type that may be a list."""
    kinds = get_args(hint) if _is_union(hint) else (hint,)
    return next((get_args(kind)[0] for kind in kinds if get_origin(kind) is Sequence), None)


def _find(name: object) -> type[Operator]:
    if not isinstance(name, str):
        raise ConfigError([Problem(("type",), mismatch(name, _EXPECTED_TYPE))])
    if ":" not in name:
        if name not in TYPES:
            raise ConfigError([Problem(("type",), unknown("operator", name, tuple(TYPES)))])
        return TYPES[name]
    found = _import(name)
    if not (isinstance(found, type) and issubclass(found, Operator) and dataclasses.is_dataclass(found)):
        raise ConfigError(
            [Problem(("type",), mismatch(name, "a dataclass that is an Operator, or a function under @recurrent"))]
        )
    return found


def _import(name: str) -> object:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        message = f"found {shown(name)}, which can't be imported: {_one_line(error)}"
        raise ConfigError([Problem(("type",), message)]) from error


def _misfits(cls: type[Operator], given: Mapping[str, object]) -> Iterator[Problem]:
    """Options that are unknown or missing, and bare numbers where a duration is due."""
    options = {option.name: option for option in dataclasses.fields(cls) if option.init}
    hints = get_type_hints(cls)
    for name, value in given.items():
        if name not in options:
            yield Problem((name,), unknown("option", name, tuple(options)))
        else:
            yield from _bare_numbers((name,), hints[name], value)
    for name, option in options.items():
        required = option.default is option.default_factory is dataclasses.MISSING
        if required and name not in given:
            yield Problem((name,), f"is missing, {cls.__name__} needs it")


def _bare_numbers(path: Path, hint: Any, value: object) -> Iterator[Problem]:
    """What isn't text where a duration is due, or in a list of them: a file's numbers have no unit."""
    if takes_duration(hint):
        if not isinstance(value, str):
            yield Problem(path, mismatch(value, EXPECTED))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _bare_numbers((*path, place), listed(hint), item)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in {Union, types.UnionType}


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
