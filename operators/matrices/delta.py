"""What the delta rules have in common: a matrix that learns each pair from the error it makes on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats
from operators.columns.inputs import refuse
from operators.matrices.feature_maps import FEATURE_MAPS, FeatureMapName
from operators.matrices.pair_runs import Run, laid
from operators.operator import Batch, Field, FieldSpec, Layout, OperatorError, Readout, Shape, State
from operators.options import flag, number, one_of
from operators.pairs.key_value import Attention, KeyValue

_LENGTH = 32
"""Events of a key taken at once: their L x L systems must stay cheaper than going one by one."""

_FEW = 8
"""Systems of fewer groups are quicker solved one by one."""

_LEAST = 1e-280
"""Of squares: what is smaller may have lost digits."""

_CACHED = 1 << 17
"""Numbers of memory taken at once: few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Delta(Attention):
    """A memory S that each event moves towards giving the event's value for its key.

    A run of events is folded at once: what each of them adds to the memory solves a triangular system, since it depends
    on what those before it added (the WY form; Yang et al., arXiv 2406.06484). As long as no event oversteps, which a
    rate below 2 sees to, the system is as harmless as the recursion is: rounding errors shrink as the memory learns.
    """

    rate: float
    weight: FieldSpec | None = None
    normalize: bool = True
    feature_map: FeatureMapName = "identity"

    roles: ClassVar[tuple[str, ...]] = (*KeyValue.roles, "weight")

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("normalize", self.normalize)
        one_of("feature_map", self.feature_map, tuple(FEATURE_MAPS))
        expected = "a number above 0" + (", below 2" if self.normalize else "")
        if not 0 < number("rate", self.rate, expected) < self._bound:
            raise OperatorError("rate", f"found {self.rate}, expected {expected}")

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the memory, and the newest query."""
        d_k, d_v = self.sizes({role: shape for role, shape in shapes.items() if role in KeyValue.roles})
        for role in shapes.keys() - set(KeyValue.roles):
            if shapes[role] != ():
                raise OperatorError(role, f"found the vector {getattr(self, role)!r}, expected a field with one number")
        features = self._features(np.zeros((1, d_k))).shape[1]
        fields = (Field("count", dtype="<i8"), Field("memory", (features, d_v)))
        return Layout((*fields, *self.newest_fields(d_k, d_v)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Learn the batch; the read-out at each event."""
        keys, values, rates = self._steps(batch)
        kept = self.kept(state, batch)
        state["count"] += batch.groups.count
        needed = each or self.readout == "before"
        queries = self._features(self.queries(batch)) if needed else None
        readouts = np.empty_like(values)
        for block in batch.groups.pieces(_LENGTH, max(1, _CACHED // math.prod(state["memory"].shape[1:]))):
            run, memory = Run.of(block, keys, values, kept), state["memory"][block.groups]
            written = _written(run, laid(block, rates, 0.0), memory)
            if queries is not None:
                asked = run.before() if self.readout == "before" else run
                block.put(asked.read(memory, queries[block.events.T], written).swapaxes(0, 1), readouts)
            state["memory"][block.groups] = run.left(memory) + run.total(written)
        return self.results(state, batch, readouts if needed else None, each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """The product of query and memory."""
        value: Floats = np.einsum("gk,gkv->gv", self._features(query), state["memory"])
        return value

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "memory": [[...]]}``."""
        rows = zip(state["count"].tolist(), state["memory"].tolist(), strict=True)
        return [{"count": count, "memory": memory} for count, memory in rows]

    def kept(self, state: State, batch: Batch) -> Floats | None:
        """What each event leaves of the memory before it learns, (N,); None: all."""
        return None

    @property
    def _bound(self) -> float:
        return 2.0 if self.normalize else np.inf

    def _features(self, x: Floats) -> Floats:
        return FEATURE_MAPS[self.feature_map](x)

    def _steps(self, batch: Batch) -> tuple[Floats, Floats, Floats]:
        """The key (N, d_k), value (N, d_v) and rate (N, 1) of each event's step S += rate k^T (v - k S)."""
        keys, values = self._features(batch.columns["key"]), batch.columns["value"]
        rates = np.full((len(keys), 1), float(self.rate))
        if self.weight is not None:
            weights = batch.columns["weight"]
            expected = f"a number of at least 0, below {self._bound / self.rate}"
            refuse("weight", weights, (weights >= 0) & (self.rate * weights < self._bound), expected)
            rates *= weights[:, None]
        return (*(_normalized(keys, values) if self.normalize else (keys, values)), rates)


def _normalized(keys: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Keys (N, d_k) of length 1, or 0, and values (N, d_v) divided by the length that the keys had.

    With k = |k| n, an update by rate k^T (v - k S) / |k|^2 is one by rate n^T (v / |k| - n S), whose numbers are no
    larger than those of the memory. Where a square could overflow or vanish, the power of two in all lengths is taken
    out before.
    """
    square = np.einsum("nk,nk->n", keys, keys)
    if (square > _LEAST).all() and (square < 1 / _LEAST).all():
        length = np.sqrt(square)[:, None]
        return keys / length, values / length
    exponent = np.frexp(np.abs(keys).max(axis=1, initial=0.0))[1][:, None]
    scaled = np.ldexp(keys, -exponent)
    length = np.sqrt(np.einsum("nk,nk->n", scaled, scaled))[:, None]
    length[length == 0] = np.inf
    return scaled / length, np.ldexp(values / length, -exponent)


def _written(run: Run, rate: Floats, memory: Floats) -> Floats:
    """What each step of a run adds along its key, (g, L, d_v), by a ``rate`` (g, L, 1), from the memory before.

    Each depends on what those before it wrote: a lower triangular system. It is solved for all groups event by event,
    or for few groups by the library. That gets it upside down, as an upper triangular one, in which elimination finds
    nothing to do and no rows to swap: swapped rows would let a large value change, in its last digits, what was read
    before it came.
    """
    overlap = rate * run.weights(run.key)
    alone: Floats = rate * (run.value - run.kept(run.key @ memory))
    if len(rate) < _FEW:
        system = (np.tril(overlap, -1) + np.eye(overlap.shape[1]))[:, ::-1, ::-1]
        return np.asarray(np.linalg.solve(system, alone[:, ::-1]), float)[:, ::-1]
    for rank in range(1, alone.shape[1]):
        alone[:, rank] -= (overlap[:, rank, None, :rank] @ alone[:, :rank])[:, 0]
    return alone
