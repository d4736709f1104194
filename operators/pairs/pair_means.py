"""What means of key-value pairs have in common: a mean of the keys beside one of the values, and the drift score."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats
from operators.operator import Algebra, Batch, Field, Layout, Operator, Ring, Shape, State
from operators.pairs.key_value import KeyValue

_PAIR = ("key", "value")


@dataclass(frozen=True, kw_only=True)
class PairMeans(KeyValue):
    """A mean of the keys and one of the values, both kept as the operator :attr:`mean` keeps that of a vector.

    What doesn't depend on the inputs (a count, a sum of weights) is kept once; the rest has names such as "key.sum".
    With one pair in the memory attention would give the mean value for every query, so the means are what is read, and
    the score says how well a query fits the mean key: q . k_mean / sqrt(d_k).
    """

    memory: ClassVar[str] = "mean"
    """What the operator :attr:`mean` calls the part of its memory that the inputs make."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.mean

    @property
    @abstractmethod
    def mean(self) -> Operator:
        """The operator that keeps the mean of a vector. Raises OperatorError for an option it can't use."""

    @property
    def algebra(self) -> Algebra:
        """That of the mean."""
        return self.mean.algebra

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The fields and rings of both means, and the newest query."""
        d_k, d_v = self.sizes(shapes)
        parts = {"key": self.mean.layout({"value": (d_k,)}), "value": self.mean.layout({"value": (d_v,)})}
        of_numbers = self.mean.layout({"value": ()}).fields
        shared = [field for field in parts["key"].fields if field in of_numbers]
        fields, rings = [*shared, Field("query", (d_k,))], dict[str, Ring]()
        for role, part in parts.items():
            fields += [replace(field, name=f"{role}.{field.name}") for field in part.fields if field not in shared]
            rings |= {ring.role: ring for ring in (_named(ring, role) for ring in part.rings)}
        return Layout(tuple(fields), tuple(rings.values()))

    def fold(self, state: State, batch: Batch, *, each: bool) -> dict[str, Floats] | None:
        """Fold the keys and the values; the means and the score after each event."""
        queries = self.queries(batch)
        means = [
            self.mean.fold(
                _part(state, role), Batch(batch.groups, {"value": batch.columns[role]}, batch.time), each=each
            )
            for role in _PAIR
        ]
        state["query"] = queries[batch.groups.last]
        return _scored(means, queries) if each else None

    def read(self, state: State, query: Floats | None = None) -> dict[str, Floats]:
        """The means, and the score of the newest query or of this one."""
        means = [self.mean.read(_part(state, role)) for role in _PAIR]
        return _scored(means, state["query"] if query is None else query)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """What the mean exports, with ``key`` and ``value`` in place of its memory: ``{"count": n, "key": k, ...}``."""
        rows = zip(*(self.mean.export(_part(state, role)) for role in _PAIR), strict=True)
        name = self.memory
        return [
            {other: part for other, part in key.items() if other != name} | {"key": key[name], "value": value[name]}
            for key, value in rows
        ]

    def merge(self, state: State, other: State) -> None:
        """Merge both means."""
        for role in _PAIR:
            self.mean.merge(_part(state, role), _part(other, role))
        self.take_newest(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """Take keys and values back; the newest query stays."""
        for role in _PAIR:
            self.mean.retract(_part(state, role), Batch(batch.groups, {"value": batch.columns[role]}, batch.time))


def _named(ring: Ring, role: str) -> Ring:
    """The ring of the keys or of the values; that of the times is the same for both."""
    return replace(ring, role=role) if ring.role == "value" else ring


def _part(state: State, role: str) -> State:
    """The memory of the keys, or that of the values. What both share is the values'; the keys get a copy of it."""
    fields = {
        name.removeprefix(f"{role}."): array.copy() if role == "key" and "." not in name else array
        for name, array in state.fields.items()
    }
    own = {"value" if name == role else name: ring for name, ring in state.rings.items() if name in (role, "time")}
    return State(fields, own)


def _scored(means: Sequence[object], query: Floats) -> dict[str, Floats]:
    key, value = (np.asarray(mean, float) for mean in means)
    return {"key": key, "value": value, "score": np.einsum("nd,n...d->n...", query, key) / math.sqrt(query.shape[1])}
