"""A memory of your own from one function, ``h_i = f(h_{i-1}, input_i)``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, field, make_dataclass
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from operators.operator import Field, FieldSpec
from operators.recurrences.functions import Function, Recurrence
from operators.recurrences.recurrence import Recurrent

Start = float | str | tuple[int, ...] | Sequence[Any] | npt.NDArray[Any]
"""Where a part of the state starts: a number or an array; a tuple, the shape of zeros; an input's name, for zeros of
its shape."""

Parameters = Mapping[str, inspect.Parameter]


def recurrent(
    *, state: Start | Mapping[str, Start], read: Function | None = None, one_by_one: bool = False
) -> Callable[[Function], type[Recurrent]]:
    """Make an operator of a function from the state before an event, and its inputs, to the state after it.

        @recurrent(state={"level": 0.0, "trend": 0.0}, read=lambda h: h["level"] + h["trend"])
        def holt(h, value, *, alpha=0.5, beta=0.1):
            level = alpha * value + (1 - alpha) * (h["level"] + h["trend"])
            return {"level": level, "trend": beta * (level - h["level"]) + (1 - beta) * h["trend"]}

    ``holt(value="power", alpha=0.3)`` is then an operator, in a file ``{ type = "module:holt", value = "power" }``.

    The parameters after the first are inputs: for each there is an option that names the field, or the fields of a
    vector; one with the default None may be left out; ``time`` is the event time, without an option. Keyword-only
    parameters are options. The function is called on all distinct keys at once: a number comes as an array (K,), a
    vector as (K, d), and the new state is to be of the same shapes as the old. With ``one_by_one`` it is called for one
    event after the other, with plain numbers, and vectors (d,).

    ``state`` says where each part of it starts: a number, an array, the shape of zeros such as ``(2, 2)``, or the name
    of an input for zeros of its shape. Parts come and go as a dict; a state without parts as it is.

    ``read`` makes the result of the state, by keyword-only options of its own if need be; without it the state is the
    result. There has to be one before the first event too: NaN stands for undefined.

    An event at which either of them raises is a bad event, and the state is as if it had never come.

    Raises:
        TypeError: the parameters of a function are of no such kind, or the state is not.
    """

    def decorate(function: Function) -> type[Recurrent]:
        inputs, options = _parameters(function)
        read_inputs, read_options = ({}, {}) if read is None else _parameters(read)
        if read_inputs:
            raise TypeError(
                f"read: found the input {next(iter(read_inputs))!r}, expected the state and options behind *"
            )
        all_options = {**read_options, **options}
        kinds = {name: kind for f in (read, function) if f is not None for name, kind in _hints(f).items()}
        kinds = {name: kinds.get(name, _kind(parameter.default)) for name, parameter in all_options.items()}
        alone = not isinstance(state, Mapping)
        parts = state if isinstance(state, Mapping) else {"state": state}
        if not parts:
            raise TypeError("state: found no parts, expected at least one")
        recurrence = Recurrence(
            function,
            read,
            one_by_one,
            {name: _start(name, start, inputs) for name, start in parts.items()},
            alone,
            tuple(inputs),
            tuple(options),
            tuple(read_options),
            kinds,
        )
        roles = [name for name in inputs if name != "time"]
        cls = make_dataclass(
            function.__name__,
            [
                *((name, FieldSpec | None, _default(inputs[name])) for name in roles),
                *((name, kinds[name], _default(parameter)) for name, parameter in all_options.items()),
            ],
            bases=(Recurrent,),
            namespace={"__doc__": inspect.getdoc(function), "recurrence": recurrence, "roles": tuple(roles)},
            frozen=True,
            kw_only=True,
        )
        cls.__module__, cls.__qualname__ = function.__module__, function.__qualname__
        return cls

    return decorate


def _parameters(function: Function) -> tuple[Parameters, Parameters]:
    """The inputs and the options of a function, without its first parameter: the state."""
    inputs: dict[str, inspect.Parameter] = {}
    options: dict[str, inspect.Parameter] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if hasattr(Recurrent, parameter.name):
            raise TypeError(f"{function.__name__}: {parameter.name!r} can't be the name of a parameter")
        if parameter.kind is parameter.KEYWORD_ONLY:
            options[parameter.name] = parameter
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default in (parameter.empty, None):
            inputs[parameter.name] = parameter
        else:
            expected = "an input (without a default, or None), or an option behind *"
            raise TypeError(f"{function.__name__}: found {str(parameter)!r}, expected {expected}")
    return inputs, options


def _default(parameter: inspect.Parameter) -> Any:
    return field(default=MISSING if parameter.default is parameter.empty else parameter.default)


def _hints(function: Function) -> dict[str, Any]:
    """The types of a function's parameters, as far as they can be known."""
    try:
        return get_type_hints(function)
    except Exception:
        return {}


def _kind(default: object) -> Any:
    """The type of an option that only has a default."""
    if isinstance(default, bool | str):
        return type(default)
    return float if isinstance(default, int | float) else Any


def _start(name: str, start: Any, inputs: Parameters) -> Field | str:
    """A part of the state, or the input that it is like."""
    if isinstance(start, str):
        if start not in inputs:
            raise TypeError(f"state {name!r}: found {start!r}, expected one of the inputs {sorted(inputs)}")
        return start
    try:
        array = np.zeros(start) if isinstance(start, tuple) else np.array(start, float)
    except (TypeError, ValueError):
        array = np.array(math.nan)
    if not np.isfinite(array).all() or not array.size:
        raise TypeError(f"state {name!r}: found {start!r}, expected a number, an array, a shape or an input's name")
    return Field(name, array.shape, initial=_plain(array.tolist()) if array.any() else 0.0)


def _plain(value: Any) -> Any:
    """Lists as tuples, so that a layout can be compared and hashed."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value
