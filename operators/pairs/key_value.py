"""What memories of key-value pairs have in common: their roles, their sizes, their query and their prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats
from operators.operator import Batch, Field, FieldSpec, Operator, OperatorError, Readout, Shape, State
from operators.options import one_of


@dataclass(frozen=True, kw_only=True)
class KeyValue(Operator):
    """A memory of pairs of a key vector and a value vector, read with a query: the event's own key, or another field.

    The newest query is part of the state, so that a read without one gives what the last event's result was.
    """

    key: FieldSpec
    value: FieldSpec
    query: FieldSpec | None = None

    roles: ClassVar[tuple[str, ...]] = ("key", "value", "query")

    def sizes(self, shapes: Mapping[str, Shape]) -> tuple[int, int]:
        """The lengths d_k and d_v. Raises OperatorError where an input is no vector, or the query is unlike the key."""
        for role, shape in shapes.items():
            if len(shape) != 1:
                vector = "the name of a vector field, or a list of names of scalar fields"
                raise OperatorError(role, f"found the number {getattr(self, role)!r}, expected {vector}")
        (key,), (value,), (query,) = shapes["key"], shapes["value"], shapes.get("query", shapes["key"])
        if query != key:
            raise OperatorError("query", f"found {query} numbers, expected as many as the key has: {key}")
        return key, value

    def take_newest(self, state: State, other: State) -> None:
        """In a merge: where the other memory has events, the newest event is one of them."""
        newer = other["count"] > 0
        for name in ("query", "prediction", "error", "predicted"):
            if name in state.fields:
                state[name][newer] = other[name][newer]

    def queries(self, batch: Batch) -> Floats:
        """The query of each event, (N, d_k)."""
        return batch.columns["key" if self.query is None else "query"]


@dataclass(frozen=True, kw_only=True)
class Attention(KeyValue):
    """A memory of pairs whose read-out predicts the value that goes with a query.

    With ``readout = "before"`` the result of an event is what the memory predicted before it took the event in, and the
    error of that: the event's value minus the prediction. The newest prediction is then part of the state.

    A memory without events gives no answer: it is undefined, whatever the query. What it predicted for a key's first
    event is what the formula says of an empty memory: 0 where that is a matrix of zeros, undefined where it is a mean.
    """

    readout: Literal["after", "before"] = "after"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("readout", self.readout, ("after", "before"))

    def newest_fields(self, d_k: int, d_v: int, heads: Shape = ()) -> tuple[Field, ...]:
        """What is kept of the newest event: its query, or also its prediction, its error, and whether it has any.

        ``heads`` are the leading axes of a read-out, where a memory has several for one query.
        """
        query, vector = Field("query", (d_k,)), (*heads, d_v)
        if self.readout == "after":
            return (query,)
        return (query, Field("prediction", vector), Field("error", vector), Field("predicted", heads, dtype="<i8"))

    def results(self, state: State, batch: Batch, readouts: Floats | None, *, each: bool) -> Readout | None:
        """Each event's result, given the read-out at each sorted event (N, ..., d_v); keeps what :meth:`read` needs.

        Read-outs may be None if they are not asked for: ``each`` is false and the read-out is after the event.
        """
        last = batch.groups.last
        state["query"] = self.queries(batch)[last]
        if readouts is None or self.readout == "after":
            return readouts if each else None
        values = batch.columns["value"]
        error = np.expand_dims(values, tuple(range(1, readouts.ndim - 1))) - readouts
        known: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(error[last]), axis=-1)
        state["predicted"] = known
        state["prediction"] = np.where(known[..., None], readouts[last], 0.0)
        state["error"] = np.where(known[..., None], error[last], 0.0)
        return {"value": readouts, "error": error} if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        """The latest result of each key; of a query, what the memory gives for it now (which has no error)."""
        if self.readout == "after" or query is not None:
            value = self.attend(state, state["query"] if query is None else query)
            value[state["count"] == 0] = np.nan
            return value if self.readout == "after" else {"value": value, "error": np.full_like(value, np.nan)}
        known = state["predicted"][..., None] > 0
        return {name: np.where(known, state[field], np.nan) for name, field in _NEWEST.items()}

    @abstractmethod
    def attend(self, state: State, query: Floats) -> Floats:
        """What the memory of each key gives for its query (G, d_k): (G, ..., d_v)."""


_NEWEST = {"value": "prediction", "error": "error"}
