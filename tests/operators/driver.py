"""A memory of the keys 0 to n - 1 that takes its inputs by role, as the cases give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from operators import Memory, Operator
from operators.columns.grouping import Floats, Ints
from operators.operator import Readout, Shape

Array = npt.NDArray[Any]


class Driver:
    """The state of one operator for the keys 0 to ``keys - 1``."""

    def __init__(self, operator: Operator, shapes: Mapping[str, Shape], keys: int = 1) -> None:
        self.operator = operator
        self.keys = range(keys)
        specs = operator.inputs()
        self.memory = Memory(operator, {str(specs[role]): shape[0] for role, shape in shapes.items() if shape})

    @property
    def nbytes(self) -> int:
        return self.memory.nbytes

    @property
    def size(self) -> int:
        """Bytes of state for each key."""
        state = self.memory.state([0])
        rings = sum(ring.array[:1].nbytes for ring in state.rings.values())
        return rings + sum(array.nbytes for array in state.fields.values())

    @property
    def fields(self) -> Mapping[str, Array]:
        return self.memory.state(self.keys).fields

    def restored(self) -> Driver:
        """A driver that knows nothing but the bytes of this one's memory."""
        other = copy(self)
        other.memory = Memory.from_bytes(self.memory.to_bytes(), self.operator)
        return other

    def fold(
        self, keys: Sequence[int] | Ints, columns: Mapping[str, Any], times: Any = None, *, each: bool = True
    ) -> Readout | None:
        """Fold a batch in order of arrival; with ``each``, the results in that order."""
        when = np.arange(len(keys), dtype=float) if times is None else times
        result = self.memory.fold(keys, self.by_field(columns), when, each=each)
        assert (result is not None) == each
        return result

    def retract(self, keys: Sequence[int] | Ints, columns: Mapping[str, Any], times: Any) -> None:
        self.memory.retract(keys, self.by_field(columns), times)

    def fold_in_batches(self, keys: Ints, columns: Mapping[str, Any], times: Any, cuts: Sequence[int]) -> Readout:
        """Fold with the events cut into batches at these places; the results of all events."""
        edges = [0, *sorted(cuts), len(keys)]
        parts = [
            self.fold(keys[a:b], {role: column[a:b] for role, column in columns.items()}, times[a:b])
            for a, b in pairwise(edges)
        ]
        return joined([part for part in parts if part is not None])

    def read(self, query: Any = None) -> Readout:
        return self.memory.read(self.keys, query)

    def export(self, key: int = 0) -> Mapping[str, Any]:
        return self.memory.export([key])[0]

    def by_field(self, columns: Mapping[str, Any]) -> dict[str, Floats]:
        """The columns by the names of the fields that the operator reads."""
        fields: dict[str, Floats] = {}
        for role, names in self.operator.inputs().items():
            column = np.asarray(columns[role], float)
            fields |= {names: column} if isinstance(names, str) else dict(zip(names, column.T, strict=True))
        return fields


def parts(readout: Readout) -> dict[str, Array]:
    """A read-out by the names of its parts; a plain one has the name ""."""
    return dict(readout) if isinstance(readout, dict) else {"": readout}


def joined(readouts: Sequence[Readout]) -> Readout:
    """Read-outs of batches, one after the other."""
    if isinstance(readouts[0], dict):
        return {name: np.concatenate([parts(readout)[name] for readout in readouts]) for name in readouts[0]}
    return np.concatenate([parts(readout)[""] for readout in readouts])
