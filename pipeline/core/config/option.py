"""The options of the configuration's objects: each one's type, default, check and description, said once.

An :class:`Option` is a descriptor of a frozen dataclass. What the constructor is given is checked and converted when it
is set; the JSON Schema of the file is made from the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, cast, overload

import msgspec

from pipeline.core.config.problem import ConfigError, Problem, mismatch
from pipeline.core.secret import MASK

Given = TypeVar("Given")
Held = TypeVar("Held")

REQUIRED: Any = object()
"""The default of an option that has none."""


class Option(Generic[Given, Held]):
    """An attribute given as ``Given`` and held as ``Held``.

    ``type`` is what may be given, in the terms of msgspec; ``expected`` says so in words; ``convert`` makes of it
    what is held, or raises ValueError. ``in_file`` is the type in a file, which may be narrower than in Python: a
    duration is text there, never a bare number. A path is relative to the file; a secret is never shown.
    """

    def __init__(
        self,
        type: Any,
        expected: str,
        default: Given = REQUIRED,
        *,
        doc: str,
        convert: Callable[[Any], Held] | None = None,
        in_file: Any = None,
        is_path: bool = False,
        is_secret: bool = False,
    ) -> None:
        self.type = type
        self.expected = expected
        self.default = default
        self.doc = doc
        self.convert = convert
        self.in_file = in_file or type
        self.is_path = is_path
        self.is_secret = is_secret

    @property
    def required(self) -> bool:
        """Whether it can't be left out."""
        return self.default is REQUIRED

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Held: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Held:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: object, value: Given) -> None:
        """Check and hold ``value``. Raises ConfigError. The option itself stands for its default."""
        given: object = value
        if given is self:
            if self.required:
                raise ConfigError([Problem((self.name,), f"is missing, expected {self.expected}")])
            given = self.default
        try:
            instance.__dict__[self.name] = self.check(given, self.type)
        except ValueError as error:
            raise ConfigError([Problem((self.name,), str(error))]) from None

    def check(self, value: Any, type: Any) -> Held:
        """What is held for ``value``. Raises ValueError with what was found and what was expected."""
        if value is None and self.default is None:
            return cast("Held", None)
        try:
            held = msgspec.convert(value, type)
            return self.convert(held) if self.convert else held
        except ValueError:
            raise ValueError(mismatch(MASK if self.is_secret else value, self.expected)) from None


def options_of(cls: type) -> dict[str, Option[Any, Any]]:
    """The options of a class of the model, by name."""
    return {name: option for name, option in vars(cls).items() if isinstance(option, Option)}
