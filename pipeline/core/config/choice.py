"""A stream's expressions: what is selected of its events, and which of them are folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.config.problem import Problem
from pipeline.core.expression import Expression, ExpressionError, Kind, Scope, read

if TYPE_CHECKING:
    from pipeline.core.config.model import Stream


@dataclass(frozen=True)
class Choice:
    """A stream's expressions, compiled. ``kinds`` are those of the fields that they read, and of selected names."""

    select: Mapping[str, Expression]
    where: Expression | None
    kinds: Mapping[str, Kind]

    def __bool__(self) -> bool:
        return self.where is not None or bool(self.select)


def read_choice(stream: Stream) -> tuple[Choice, list[Problem]]:
    """Compile a stream's expressions, and tell what is wrong with them."""
    problems: list[Problem] = []
    scope = _scope(stream)

    def attempt(path: tuple[str, ...], text: str, expected: Kind | None = None) -> Expression | None:
        try:
            return read(text, scope, expected)
        except ExpressionError as error:
            problems.append(Problem(path, str(error)))
            return None

    read_ones = {name: attempt(("select", name), text) for name, text in stream.select.items()}
    select = {name: expression for name, expression in read_ones.items() if expression is not None}
    for name, expression in select.items():
        scope.define(name, expression)
    unreadable = len(select) < len(read_ones)
    where = None if stream.where is None or unreadable else attempt(("where",), stream.where, Kind.BOOLEAN)
    for name, expression in select.items():
        if expression.kind is Kind.BOOLEAN:
            expected = "a number or text: a condition becomes a number by `1 if ... else 0`"
            problems.append(Problem(("select", name), f"found true or false, expected {expected}"))
    return Choice(select, where, {name: slot.kind for name, slot in scope.slots.items()}), problems


def _scope(stream: Stream) -> Scope:
    """What is known of a stream's fields before any expression is read."""
    vector = "a number, text or boolean: it is a vector, of which expressions can read nothing"
    selected = "a field of the event: it is a name of `select` itself"
    scope = Scope(dict.fromkeys(stream.vectors, vector) | dict.fromkeys(stream.select, selected))
    if stream.binary:
        scope.only = [field for field in stream.fields if field not in stream.vectors]
        for field in scope.only:
            scope.know(field, Kind.NUMBER)
    for field in stream.key_fields:
        if field not in stream.select:
            scope.know(field, Kind.TEXT)
    if stream.time is not None:
        scope.know(stream.time, Kind.NUMBER)
    return scope
