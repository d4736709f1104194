"""Expressions over the same fields, whose kinds follow from all of them together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.core.expression.kind import Column, Kind, Slot

Run = Callable[[Mapping[str, Column]], Any]
"""Evaluates a part of an expression: columns by field, to a column or one value for all."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression. ``names`` are the fields and defined names that it reads."""

    text: str
    names: frozenset[str]
    _slot: Slot = field(repr=False)
    _run: Run = field(repr=False)

    @property
    def kind(self) -> Kind:
        """What it gives."""
        return self._slot.kind

    def __call__(self, columns: Mapping[str, Column], count: int) -> Column:
        """The value for each of ``count`` events, ``(count,)``.

        Numbers follow IEEE 754: 1 / 0 is infinite, 0 / 0 is NaN. A comparison with NaN or None is false, but ``!=``.
        """
        with np.errstate(all="ignore"):
            column = np.asarray(self._run(columns))
        return column if column.ndim else np.full(count, column, column.dtype)


@dataclass
class Scope:
    """What names stand for.

    ``refused`` are fields that can't be used, with what is expected instead; ``only`` are all the fields there are,
    if that is known. ``slots`` are the fields that expressions read, and the names that stand for expressions.
    """

    refused: Mapping[str, str] = field(default_factory=dict)
    only: Collection[str] | None = None
    slots: dict[str, Slot] = field(default_factory=dict)
    defined: dict[str, Expression] = field(default_factory=dict)

    def know(self, name: str, kind: Kind) -> None:
        """A field is of this kind, whatever expressions do with it."""
        self.slots[name] = Slot(kind)

    def define(self, name: str, expression: Expression) -> None:
        """A name stands for the value of an expression."""
        self.defined[name] = expression
        self.slots[name] = expression._slot
