"""The one contract that every operator follows.

An operator is a memory kept for each key: ``Mem = Update(S_kv, Mem_pre)``. It is pure: it sees columns of numbers and
the state of the keys that occur in them, and nothing else (no clock, no I/O, no other key).

The engine groups a batch by key once, gathers the state of just those keys, calls :meth:`Operator.fold`, checks that
everything is still finite, and only then puts the state back. So a fold may change the arrays it is given as it likes:
if it raises, or leaves a number that is not finite, the memory is as if the event had never come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from operators.columns.grouping import Floats, Groups, Ints
from operators.options import OperatorError, field_names, one_of

__all__ = [
    "Algebra",
    "Batch",
    "Field",
    "FieldSpec",
    "Layout",
    "Operator",
    "OperatorError",
    "Readout",
    "Ring",
    "RingView",
    "Shape",
    "State",
]

Shape = tuple[int, ...]
"""Of one event's input: ``()`` for a number, ``(d,)`` for a vector of d numbers."""

Algebra = Literal["group", "monoid", "ordered", "none"]
"""How partial states of one key combine.

``group``: those of any events, in any order, and events can be taken back; ``monoid``: of any events, in any order;
``ordered``: a state of some events with one of the events right after them; ``none``: not at all.
"""

FieldSpec = str | Sequence[str]
"""What a role reads: the name of a field (a number or a vector), or the names of the scalar fields of a vector."""

Readout = Floats | Ints | dict[str, Floats]
"""Results for a run of events or of keys: ``(N,)``, ``(N, d)``, or named parts of those. NaN means undefined (null)."""


@dataclass(frozen=True)
class Field:
    """One named array of the state: a number (``shape = ()``), a vector or a matrix for each key.

    ``initial`` is where all of its numbers start, or each, in tuples as deep as the shape is long.
    """

    name: str
    shape: Shape = ()
    dtype: str = "<f8"
    initial: float | tuple[Any, ...] = 0.0


@dataclass(frozen=True)
class Ring:
    """The newest ``length`` inputs of a role, kept raw. The engine appends to it; the operator only reads.

    The role ``time`` is the event time (seconds), which is there without an option.

    Slot ``n % length`` holds the n-th input (n from 0), n being the operator's field ``count`` (which every operator
    with rings has): the number of events folded.
    """

    role: str
    length: int
    shape: Shape = ()


@dataclass(frozen=True)
class Layout:
    """What is stored for one key: fields, and rings of raw inputs."""

    fields: tuple[Field, ...]
    rings: tuple[Ring, ...] = ()


@dataclass
class RingView:
    """The rings of the gathered keys: slot ``array[rows[g], j]`` is slot j of group g's ring (before this batch)."""

    array: Floats
    rows: Ints

    @property
    def stride(self) -> int:
        """How many slots further on in memory the next row of ``array`` begins: some may be left out of it."""
        return self.array.strides[0] // self.array.strides[1]

    def inputs(self, places: Ints) -> Floats:
        """What is at these places of ``array``, (n,), row by row in strides: (n, ...)."""
        rows, length, *shape = self.array.shape
        if self.array.flags.c_contiguous:
            flat = self.array.reshape((-1, *shape))
        else:
            extent = (rows - 1) * self.stride + length
            flat = as_strided(self.array, (extent, *shape), self.array.strides[1:], writeable=False)
        found: Floats = flat.take(places, axis=0)  # thrice as quick as by two indices
        return found


@dataclass
class State:
    """The state of G keys: ``fields[name]`` has G as its leading axis and may be changed in place; rings may not."""

    fields: dict[str, npt.NDArray[Any]]
    rings: dict[str, RingView] = field(default_factory=dict)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.fields[name]

    def __setitem__(self, name: str, value: npt.NDArray[Any]) -> None:
        self.fields[name][...] = value


@dataclass
class Batch:
    """N events of G keys, sorted by key with the order of arrival kept within each key.

    ``groups`` says which run belongs to which key (group g is row g of the :class:`State`); ``columns`` holds the
    inputs by role, ``(N,)`` or ``(N, d)``, all finite; ``time`` is the event time in Unix seconds, ``(N,)``.
    """

    groups: Groups
    columns: dict[str, Floats]
    time: Floats


@dataclass(frozen=True, kw_only=True)
class Operator(ABC):
    """A memory of constant size for each key. Subclasses are frozen dataclasses whose fields are the options.

    ``roles`` names the inputs, e.g. ``("key", "value")``; for each there is an option of that name holding a field's
    name, or a tuple of names of scalar fields, or None where the role may be left out. ``publish`` says what the output
    record carries of it: the read-out, the memory itself, or both. Raises OperatorError for an option it can't use.
    """

    publish: Literal["readout", "state", "both"] = "readout"

    roles: ClassVar[tuple[str, ...]] = ("value",)

    @property
    def algebra(self) -> Algebra:
        """How partial states combine; the methods that it promises are there, and the tests hold it to its word."""
        return "none"

    def __post_init__(self) -> None:
        one_of("publish", self.publish, ("readout", "state", "both"))
        for role in self.roles:
            if (given := getattr(self, role)) is not None:
                object.__setattr__(self, role, field_names(role, given))

    def inputs(self) -> dict[str, str | tuple[str, ...]]:
        """By role, the field of the event it reads, or the scalar fields that make up the vector."""
        return {role: names for role in self.roles if (names := getattr(self, role)) is not None}

    @abstractmethod
    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """What is stored for a key, given the shape of each role's input. Raises OperatorError if they don't fit."""

    @abstractmethod
    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Fold all events of the batch into the state.

        With ``each``, return every event's own result (read-out right after it, in the batch's order: sorted by key);
        without, return None and spend nothing on results (the engine calls :meth:`read` when it needs the latest).
        """

    @abstractmethod
    def read(self, state: State, query: Floats | None = None) -> Readout:
        """The latest result of each of the G keys: what the last event's ``each`` result was.

        ``query`` (G, d_k) replaces the last event's own, where the operator has one.
        """

    @abstractmethod
    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """The memory itself of each of the G keys as plain numbers and lists, for ``publish = "state"``."""

    def merge(self, state: State, other: State) -> None:
        """Take the memory of other events of the same G keys into ``state``, as if it had folded them too.

        An ``ordered`` one takes events that came after its own. Only fields are changed: whoever calls this joins the
        rings. Where rings are all that there is to know no method is needed: this one folds what the other's hold.

        Raises:
            OperatorError: its algebra is ``none``.
        """
        from operators.state.merging import replay  # noqa: PLC0415  it works on what is defined here

        if self.algebra == "none" or not state.rings:
            raise OperatorError("type", f"{type(self).__name__} can't merge partial states")
        replay(self, state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """Take events back that the state has folded, in any order: what a ``group`` can.

        Raises:
            OperatorError: its algebra is not ``group``.
        """
        raise OperatorError("type", f"{type(self).__name__} can't take events back")
