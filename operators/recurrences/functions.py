"""Functions of one's own: what they say of themselves, and what is asked of what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.operator import Field, Shape

Function = Callable[..., Any]
Parts = Mapping[str, Any]
"""A state, or a read-out, by the names of its parts."""

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Recurrence:
    """Two functions, and what they say of themselves.

    ``start`` has a field for each part of the state, or the name of the input whose shape it takes; a state that is
    ``alone`` has but one, and the functions don't see it as a mapping. ``inputs`` are the parameters of ``function``
    that events fill, ``options`` those that the configuration does, ``read_options`` those of ``read``; ``kinds`` are
    the types of options.
    """

    function: Function
    read: Function | None
    one_by_one: bool
    start: Mapping[str, Field | str]
    alone: bool
    inputs: tuple[str, ...]
    options: tuple[str, ...]
    read_options: tuple[str, ...]
    kinds: Mapping[str, Any]

    def after(self, parts: Parts, inputs: Sequence[Any], options: Options, like: Mapping[str, Shape]) -> Parts:
        """The state after an event. Raises ValueError if the function returned anything but parts of these shapes."""
        result = self.function(self._given(parts), *inputs, **options)
        new = dict.fromkeys(like, result) if self.alone else result
        if not isinstance(new, dict) or new.keys() != like.keys():
            found = sorted(new) if isinstance(new, dict) else type(new).__name__
            raise ValueError(f"returned {found}, expected a dict of {sorted(like)}")
        for name, shape in like.items():
            if shape_of(new[name]) != shape:
                raise ValueError(f"returned {name!r} of the shape {shape_of(new[name])}, expected {shape}")
        return new

    def result(self, parts: Parts, options: Options) -> Parts:
        """The read-out of a state by the names of its parts; that of one which has none is ""."""
        if self.read is not None:
            result = self.read(self._given(parts), **options)
        else:
            result = dict(parts) if len(parts) > 1 else next(iter(parts.values()))
        return result if isinstance(result, dict) else {"": result}

    def _given(self, parts: Parts) -> Any:
        """The state as the functions take it."""
        return next(iter(parts.values())) if self.alone else dict(parts)


def shape_of(part: Any) -> Shape:
    """The shape of a number or an array."""
    return () if isinstance(part, float) else np.shape(part)


def check_parts(read: Parts, results: Parts) -> None:
    """Raise ValueError unless a read-out has the parts of that before the first event."""
    if read.keys() != results.keys():
        raise ValueError(f"read {sorted(read)}, but {sorted(results)} before the first event")


def check_shape(name: str, part: Any, shape: Shape) -> None:
    """Raise ValueError if a part of a read-out has another shape."""
    if shape_of(part) != shape:
        raise ValueError(f"read {name!r} of the shape {shape_of(part)}, expected {shape}")
