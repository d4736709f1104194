"""The kinds of values, and how those of fields are found out from what is done with them."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.batch import Floats

Mask = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]
"""Texts, None where there is none."""

Column = Floats | Mask | Texts
"""What an expression takes and gives, ``(N,)``. A field's booleans are 1 and 0, NaN where there is none."""


class Kind(Enum):
    """What a value is; ``ANY`` is a field of which only is asked whether it is there."""

    NUMBER = "a number"
    TEXT = "text"
    BOOLEAN = "true or false"
    ANY = "anything"


class KindError(ValueError):
    """A value is of another kind than is due."""


class Slot:
    """The kind of a value that may not be known yet; two slots of which is known that they are alike become one."""

    def __init__(self, kind: Kind | None = None) -> None:
        self._kind = kind
        self._same: Slot | None = None
        self._used = False

    @property
    def kind(self) -> Kind:
        """The kind: of a value that nothing tells more about a number, unless its value is never used."""
        root = self._root()
        return root._kind or (Kind.NUMBER if root._used else Kind.ANY)

    def become(self, kind: Kind) -> None:
        """It is of this kind. Raises KindError if it is of another."""
        root = self._root()
        if root._kind not in (None, kind):
            raise KindError(f"found {root.kind.value}, expected {kind.value}")
        root._kind = kind

    def use(self) -> None:
        """Its value matters, not only whether it is there."""
        self._root()._used = True

    def join(self, other: Slot) -> None:
        """Both are of one kind. Raises KindError if they are not."""
        mine, its = self._root(), other._root()
        if mine._kind and its._kind and mine._kind is not its._kind:
            raise KindError(f"found {its._kind.value}, expected {mine._kind.value}")
        mine._kind = mine._kind or its._kind
        mine._used = True
        if its is not mine:
            its._same = mine

    def _root(self) -> Slot:
        slot = self
        while slot._same is not None:
            slot = slot._same
        return slot


def texts(values: list[Any]) -> Texts:
    """A column of texts."""
    column = np.empty(len(values), object)
    column[:] = values
    return column
