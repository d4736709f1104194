"""What an operator remembers of many keys, without Kafka: in a notebook, in a test, or in front of another memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, overload

import numpy as np

from operators.columns.grouping import Ints
from operators.columns.readout import each_part, put
from operators.operator import Operator, OperatorError, Readout, State
from operators.state.inputs import Columns, Inputs, batched
from operators.state.keys import KeyIndex
from operators.state.merging import joined
from operators.state.rows import Array, Rows
from operators.state.serial import described, identity, key_from_json, key_to_json, pack, take, unpack


class Memory:
    """The memory that an operator keeps of each key, for any number of keys.

        memory = Memory(Mean(value="score"))
        memory.fold(["ann", "bob", "ann"], {"score": [1.0, 5.0, 2.0]})  # array([1. , 5. , 1.5])
        memory.read(["ann"])  # array([1.5])

    Keys are anything that can be hashed. ``vectors`` are the fields that are arrays of numbers, with their lengths;
    every other field is one number. Whatever raises leaves the memory as it was. Raises OperatorError where the fields
    do not fit the operator.
    """

    def __init__(self, operator: Operator, vectors: Mapping[str, int] | None = None) -> None:
        self.operator = operator
        self.vectors = dict(vectors or {})
        self._inputs = Inputs(operator, self.vectors)
        self._rows = Rows(operator.layout(self._inputs.shapes))
        self._index = KeyIndex[Hashable]()

    # Folding

    @overload
    def fold(
        self, keys: Iterable[Hashable], columns: Columns | None = ..., times: Any = ..., *, each: Literal[True] = ...
    ) -> Readout: ...
    @overload
    def fold(
        self, keys: Iterable[Hashable], columns: Columns | None = ..., times: Any = ..., *, each: bool
    ) -> Readout | None: ...
    def fold(
        self, keys: Iterable[Hashable], columns: Columns | None = None, times: Any = None, *, each: bool = True
    ) -> Readout | None:
        """Fold N events in order of arrival; with ``each``, every event's own result in that order.

        ``columns`` hold the fields that the operator reads, (N,) or (N, d), ``times`` the event times in Unix seconds;
        left out, every event is at 0.

        Raises:
            ValueError: a column has another shape, or a number that is not finite.
            OverflowError: the events would leave a number in the memory that is not finite.
        """
        names = _listed(keys)
        inputs, when = self._inputs.read(len(names), columns, times)
        with self._rows_of(names) as at:
            rows, batch = batched(at, inputs, when)
            state = self._rows.gather(rows)
            with np.errstate(all="ignore"):
                result = self.operator.fold(state, batch, each=each)
            self._check(state)
        self._rows.scatter(rows, state, batch)
        return None if result is None else each_part(result, lambda part: put(part, batch.groups.order))

    def retract(self, keys: Iterable[Hashable], columns: Columns | None = None, times: Any = None) -> None:
        """Take back events that were folded, in any order. A key with no events left is as if it never had one.

        Raises:
            OperatorError: the operator's algebra is not ``group``.
            KeyError: a key was never seen.
            ValueError: more events of a key are taken back than it had; or as for :meth:`fold`.
        """
        if (algebra := self.operator.algebra) != "group":
            raise OperatorError("type", f"{self._name} can't take events back: its algebra is {algebra!r}")
        names = _listed(keys)
        inputs, when = self._inputs.read(len(names), columns, times)
        rows, batch = batched(self._which(names), inputs, when)
        if len(rows) and rows[-1] == len(self):
            raise KeyError(next(key for key in names if key not in self))
        state = self._rows.gather(rows)
        with np.errstate(all="ignore"):
            self.operator.retract(state, batch)
        self._check(state)
        count = state.fields.get("count")
        if count is not None and (count < 0).any():
            key = self._index.keys[rows[np.flatnonzero(count < 0)[0]]]
            raise ValueError(f"more events of the key {key!r} are taken back than it had")
        self._rows.put(rows, state)
        if count is not None:
            self._rows.clear(rows[count == 0])

    def merge(self, other: Memory) -> None:
        """Take in what another memory of the same operator holds, as if its events had been folded here.

        With the algebra ``ordered`` its events count as those right after the ones folded here.

        Raises:
            OperatorError: the operator's algebra is ``none``, or the other one is of another operator.
        """
        if self.operator.algebra == "none":
            raise OperatorError("type", f"{self._name} can't merge partial states: its algebra is 'none'")
        mine, its = ((identity(memory.operator), memory._inputs.shapes) for memory in (self, other))
        if mine != its:
            raise OperatorError("type", f"found a memory of {its[0]}, {its[1]}, expected {mine[0]}, {mine[1]}")
        theirs = other.state()
        with self._rows_of(other.keys) as rows:
            state = self._rows.gather(rows)
            rings = {role: joined(state, theirs, role) for role in state.rings}
            with np.errstate(all="ignore"):
                self.operator.merge(state, theirs)
            self._check(state)
        self._rows.put(rows, state, rings)

    # Reading

    @property
    def keys(self) -> list[Hashable]:
        """The keys in the order they were first seen."""
        return list(self._index.keys)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: Hashable) -> bool:
        return self._index.get(key) is not None

    def read(self, keys: Iterable[Hashable] | None = None, query: Any = None) -> Readout:
        """The latest result of each of these keys, or of all in the order of :attr:`keys`.

        Of a key that was never seen it is that of no events: undefined, as a rule.

        ``query``, (d_k,) or one a key (G, d_k), replaces the newest event's own, where the operator takes one.

        Raises:
            ValueError: the operator takes no query, or one of another length.
        """
        rows = self._which(keys)
        with np.errstate(all="ignore"):
            return self.operator.read(self._rows.gather(rows), self._inputs.query(query, len(rows)))

    def export(self, keys: Iterable[Hashable] | None = None) -> Sequence[Mapping[str, object]]:
        """The memory itself of each of these keys, or of all, as plain numbers and lists."""
        with np.errstate(all="ignore"):
            return self.operator.export(self.state(keys))

    def state(self, keys: Iterable[Hashable] | None = None) -> State:
        """The raw state of each of these keys, or of all: a copy of its fields, a view of its rings."""
        return self._rows.gather(self._which(keys))

    @property
    def nbytes(self) -> int:
        """Bytes of state that the keys have: for each of them the same, however many events it had."""
        return sum(array[: len(self)].nbytes for array in self._arrays())

    # Bytes

    def to_bytes(self) -> bytes:
        """All of it as bytes that :meth:`from_bytes` reads, bit for bit, on any machine.

        Raises:
            TypeError: a key is no text, bytes, number, None, or tuple of those.
        """
        header = {
            "operator": identity(self.operator),
            "vectors": self.vectors,
            "layout": described(self._rows.layout),
            "keys": list(map(key_to_json, self._index.keys)),
        }
        return pack(header, [array[: len(self)] for array in self._arrays()])

    @classmethod
    def from_bytes(cls, raw: bytes, operator: Operator) -> Memory:
        """The memory that :meth:`to_bytes` was called on.

        Raises:
            ValueError: these are not the bytes of a memory, or not all of them.
            OperatorError: they are of another operator, or of other options.
        """
        header, numbers = unpack(raw)
        if header["operator"] != identity(operator):
            raise OperatorError("type", f"found a memory of {header['operator']}, expected {identity(operator)}")
        memory = cls(operator, header["vectors"])
        if header["layout"] != described(memory._rows.layout):
            raise OperatorError("type", f"found the layout {header['layout']}, expected that of this version")
        memory._rows.reserve(len(memory._index.rows(list(map(key_from_json, header["keys"])))))
        shapes = [(array.dtype.str, (len(memory), *array.shape[1:])) for array in memory._arrays()]
        for array, stored in zip(memory._arrays(), take(numbers, shapes), strict=True):
            array[: len(memory)] = stored
        return memory

    def _arrays(self) -> list[Array]:
        return [*self._rows.fields.values(), *self._rows.rings.values()]

    # What is given

    @contextmanager
    def _rows_of(self, keys: Sequence[Hashable]) -> Iterator[Ints]:
        """The rows of these keys, new ones if need be; if anything raises, those are given up again."""
        known = len(self)
        try:
            rows = self._index.rows(keys)
            self._rows.reserve(len(self))
            yield rows
        except BaseException:
            self._index.cut_back(known)
            raise

    def _which(self, keys: Iterable[Hashable] | None) -> Ints:
        """The rows of these keys, or of all. Those never seen share one behind the others: it holds no events."""
        spare = len(self)
        if keys is None:
            return np.arange(spare)
        self._rows.reserve(spare + 1)
        known = (self._index.get(key) for key in _listed(keys))
        return np.array([spare if row is None else row for row in known], np.int64)

    def _check(self, state: State) -> None:
        """That an operator left its state as its layout says, and finite."""
        self._rows.check(state)
        for name, array in state.fields.items():
            if not np.isfinite(array).all():
                raise OverflowError(f"{self._name} can't take this in: its field {name!r} would not be finite")

    @property
    def _name(self) -> str:
        return type(self.operator).__name__


def _listed(keys: Iterable[Hashable]) -> list[Hashable]:
    """Keys as a list; those of an array as the objects that Python has for them."""
    return list(keys.tolist() if isinstance(keys, np.ndarray) else keys)
