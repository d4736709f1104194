"""The attention of RWKV-4: a mean of all values by weights that events state as logarithms and that decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats
from operators.columns.parallel_scan import Parts, scan
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Readout, Shape, State
from operators.options import number, numbers, one_of

_GAMMA = "a number above 0, at most 1, or a list with one for each element of the value"


@dataclass(frozen=True, kw_only=True)
class Rwkv(Operator):
    """A decayed mean of a number, or of a vector element by element, in which events weigh what they say themselves.

        o_i = sum_j gamma^(i - j) e^(k_j) v_j / sum_j gamma^(i - j) e^(k_j)

    Parameters: ``key``, k: a field with the logarithm of the event's weight (how sure it is), any number, or as many
    of them as the value has; ``value``, v; ``gamma``, in (0, 1], what an event leaves of the weights before it, or a
    list with one for each element of the value (1 if left out); ``readout``, after the event, or before it: the
    prediction and its error. RWKV-4 itself gives an event a bonus u while it is the newest; this is that with
    u = -ln gamma, so that an event has one weight.
    State: the count, the sums of w v and w and the largest weight, 1 + 2d + 1 numbers, or 1 + 3d where elements have
    weights of their own; with ``readout = "before"`` 2d more.
    Sums are kept divided by the largest weight there is (log-sum-exp), so nothing overflows whatever the weights.
    Reference: Peng et al., RWKV: Reinventing RNNs for the Transformer Era, arXiv 2305.13048.
    """

    key: FieldSpec
    value: FieldSpec
    gamma: float | Sequence[float] = 1.0
    readout: Literal["after", "before"] = "after"

    roles: ClassVar[tuple[str, ...]] = ("key", "value")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("readout", self.readout, ("after", "before"))
        several = isinstance(self.gamma, Sequence)
        gammas = numbers("gamma", self.gamma, _GAMMA) if several else (number("gamma", self.gamma, _GAMMA),)
        if not all(0 < gamma <= 1 for gamma in gammas):
            raise OperatorError("gamma", f"found {self.gamma!r}, expected {_GAMMA}")
        object.__setattr__(self, "gamma", gammas if several else gammas[0])

    @property
    def algebra(self) -> Algebra:
        """Ordered: later events make earlier ones fade; none if a prediction by all events before is kept."""
        return "ordered" if self.readout == "after" else "none"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, both sums and the scale they have, and the newest prediction."""
        key, value = shapes["key"], shapes["value"]
        if key not in ((), value):
            raise OperatorError("key", f"found {key[0]} numbers, expected one, or as many as the value has")
        if self._decay.ndim and self._decay.shape != value:
            raise OperatorError("gamma", f"found {len(self._decay)} numbers, expected one, or as many as the value has")
        weight = value if self._decay.ndim else key
        sums = (Field("sum", value), Field("weight", weight), Field("scale", weight))
        newest = () if self.readout == "after" else (Field("prediction", value), Field("error", value))
        return Layout((Field("count", dtype="<i8"), *sums, *newest))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Let the weights decay and add the batch; the mean at each event."""
        groups, values = batch.groups, batch.columns["value"]
        old = self._parts(state)
        first, fresh = _mean(old[3], old[2]), old[0] == 0
        shape = (len(values), *state["weight"].shape[1:])
        keys = np.broadcast_to(_spread(batch.columns["key"], len(shape)), shape)
        events = (np.ones(len(values), np.int64), keys, np.ones(shape), values)
        needed = each or self.readout == "before"
        runs = scan(groups, self._follow, events, each=needed)
        new = self._follow(tuple(part[groups.segment] for part in old) if needed else old, runs)
        last = tuple(part[groups.last] for part in new) if needed else new
        for name, part in zip(("count", "scale", "weight", "sum"), last, strict=True):
            state[name] = part
        if not needed:
            return None
        means = _mean(new[3], new[2])
        if self.readout == "after":
            return means if each else None
        before = np.concatenate([means[:1], means[:-1]])
        before[groups.start] = first
        error = values - before
        for name, part in (("prediction", before), ("error", error)):
            state[name] = np.where(_spread(fresh & (groups.count == 1), values.ndim), 0.0, part[groups.last])
        return {"value": before, "error": error} if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        """The mean; or the newest prediction and its error."""
        if self.readout == "after":
            return _mean(state["sum"], state["weight"])
        known = _spread(state["count"] > 1, state["sum"].ndim)
        return {"value": np.where(known, state["prediction"], np.nan), "error": np.where(known, state["error"], np.nan)}

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "sum": [...], "weight": w, "scale": m}``: the sums, divided by e^m."""
        names = ("count", "sum", "weight", "scale")
        columns = (state[name].tolist() for name in names)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Let the weights decay by the other one's events, and add its sums."""
        if self.readout == "before":
            super().merge(state, other)
        merged = self._follow(self._parts(state), self._parts(other))
        for name, part in zip(("count", "scale", "weight", "sum"), merged, strict=True):
            state[name] = np.where(np.isneginf(part), 0.0, part)

    @cached_property
    def _decay(self) -> Floats:
        """The logarithm of gamma, () or (d,)."""
        logarithm: Floats = np.log(np.asarray(self.gamma, float))
        return logarithm

    def _parts(self, state: State) -> Parts:
        """The number of events, the logarithm of the largest weight, and the sums of w and w v divided by it."""
        scale = np.where(_spread(state["count"] > 0, state["scale"].ndim), state["scale"], -np.inf)
        return state["count"].copy(), scale, state["weight"], state["sum"]

    def _follow(self, older: Parts, newer: Parts) -> Parts:
        """The sums of runs that follow each other."""
        faded = older[1] + _spread(newer[0].astype(float), newer[1].ndim) * self._decay
        scale = np.maximum(faded, newer[1])
        base = np.where(np.isneginf(scale), 0.0, scale)
        old, new = np.exp(faded - base), np.exp(newer[1] - base)
        weight = old * older[2] + new * newer[2]
        values = newer[3].ndim
        return older[0] + newer[0], scale, weight, _spread(old, values) * older[3] + _spread(new, values) * newer[3]


def _spread(rows: npt.NDArray[Any], ndim: int) -> npt.NDArray[Any]:
    """Rows (n,) or (n, d) with so many axes, the last ones of length 1."""
    return rows.reshape(rows.shape + (1,) * (ndim - rows.ndim))


def _mean(total: Floats, weight: Floats) -> Floats:
    mean: Floats = total / _spread(np.where(weight == 0, np.nan, weight), total.ndim)
    return mean
