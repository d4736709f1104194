"""Does to an operator what the engine does: group, gather, fold, append to the rings, put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.grouping import Floats, Groups, Ints, group
from operators.operator import Batch, Operator, Readout, RingView, Shape, State

Array = npt.NDArray[Any]


class Driver:
    """The state of one operator for the keys 0 to ``keys - 1``."""

    def __init__(self, operator: Operator, shapes: Mapping[str, Shape], keys: int = 1) -> None:
        self.operator = operator
        self.shapes = shapes
        self.layout = operator.layout(shapes)
        self.fields: dict[str, Array] = {
            field.name: np.full((keys, *field.shape), field.initial, field.dtype) for field in self.layout.fields
        }
        self.rings = {ring.role: np.zeros((keys, ring.length, *ring.shape)) for ring in self.layout.rings}

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in [*self.fields.values(), *self.rings.values()])

    def restored(self) -> Driver:
        """A driver that knows nothing but copies of the fields and the rings, as bytes."""
        other = Driver(self.operator, self.shapes, len(next(iter(self.fields.values()))))
        for mine, theirs in ((self.fields, other.fields), (self.rings, other.rings)):
            for name, array in mine.items():
                theirs[name] = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape).copy()
        return other

    def fold(
        self, keys: Sequence[int] | Ints, columns: Mapping[str, Any], times: Any = None, *, each: bool = True
    ) -> Readout | None:
        """Fold a batch in order of arrival; with ``each``, the results in that order."""
        rows, groups = group(np.asarray(keys, np.int64))
        names = self.operator.inputs()
        given = {role: np.asarray(columns[role], float) for role in names}
        inputs = {role: _frozen(column[groups.order]) for role, column in given.items()}
        when = np.arange(len(keys), dtype=float) if times is None else np.asarray(times, float)
        state = self.gather(rows)
        with np.errstate(all="ignore"):
            result = self.operator.fold(state, Batch(groups, inputs, _frozen(when[groups.order])), each=each)
        for array in state.fields.values():
            assert np.isfinite(array).all(), "the engine would refuse this as an overflow"
        self._append(rows, groups, inputs)
        for name, array in self.fields.items():
            assert state[name].dtype == array.dtype
            assert state[name].shape == (len(rows), *array.shape[1:])
            array[rows] = state[name]
        assert (result is not None) == each
        return None if result is None else unsorted(result, groups.order)

    def fold_in_batches(self, keys: Ints, columns: Mapping[str, Any], times: Any, cuts: Sequence[int]) -> Readout:
        """Fold with the events cut into batches at these places; the results of all events."""
        edges = [0, *sorted(cuts), len(keys)]
        parts = [
            self.fold(keys[a:b], {role: column[a:b] for role, column in columns.items()}, times[a:b])
            for a, b in pairwise(edges)
        ]
        return joined([part for part in parts if part is not None])

    def read(self, query: Any = None) -> Readout:
        with np.errstate(all="ignore"):
            given = None if query is None else np.asarray(query, float)
            return self.operator.read(self.gather(np.arange(len(self.fields["count"]))), given)

    def export(self, key: int = 0) -> Mapping[str, Any]:
        with np.errstate(all="ignore"):
            return self.operator.export(self.gather(np.array([key])))[0]

    def gather(self, rows: Ints) -> State:
        return State(
            {name: array[rows] for name, array in self.fields.items()},
            {role: RingView(_frozen(array.view()), rows) for role, array in self.rings.items()},
        )

    def _append(self, rows: Ints, groups: Groups, inputs: Mapping[str, Floats]) -> None:
        for role, array in self.rings.items():
            for g, row in enumerate(rows.tolist()):
                run = inputs[role][groups.start[g] : groups.start[g] + groups.count[g]][-array.shape[1] :]
                end = int(self.fields["count"][row]) + int(groups.count[g])
                array[row, (end - len(run) + np.arange(len(run))) % array.shape[1]] = run


def parts(readout: Readout) -> dict[str, Array]:
    """A read-out by the names of its parts; a plain one has the name ""."""
    return dict(readout) if isinstance(readout, dict) else {"": readout}


def joined(readouts: Sequence[Readout]) -> Readout:
    """Read-outs of batches, one after the other."""
    if isinstance(readouts[0], dict):
        return {name: np.concatenate([parts(readout)[name] for readout in readouts]) for name in readouts[0]}
    return np.concatenate([parts(readout)[""] for readout in readouts])


def unsorted(readout: Readout, order: Ints) -> Readout:
    """Sorted results in order of arrival."""

    def place(part: Array) -> Array:
        out = np.empty_like(part)
        out[order] = part
        return out

    if isinstance(readout, dict):
        return {name: place(part) for name, part in readout.items()}
    return place(readout)


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array
