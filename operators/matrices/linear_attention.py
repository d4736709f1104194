"""Linear attention: all key-value pairs of a key in one matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.arithmetic import divide
from operators.columns.epochs import advance, align
from operators.columns.grouping import Floats
from operators.columns.scan import add_sums
from operators.duration import Duration, length, lengths
from operators.matrices.feature_maps import FeatureMap, FeatureMapName, feature_map
from operators.matrices.linear_recurrence import fold_pairs
from operators.operator import Algebra, Batch, Field, Layout, OperatorError, Readout, Shape, State
from operators.pairs.key_value import Attention


@dataclass(frozen=True, kw_only=True)
class LinearAttention(Attention):
    """Attention with weights q' . k'_j, which a state of constant size can sum up: kernel regression over all events.

        mu = sum_j w_j k'_j^T v_j,  nu = sum_j w_j k'_j^T,  o = q' mu / (q' nu),  k' = phi(k)
        w_j = 1  or  w_j = 2^(-(t - t_j) / half_life)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``feature_map``, phi: identity, elu1, relu,
    relu2, taylor2, favor (with ``features``, 64 if left out, and the ``seed`` of their directions) or dpfp (with
    ``nu``, its shifts); ``half_life``, a duration of event time, or ``heads``, a list of them: the read-out then is a
    list with one vector a half-life; ``readout``, after the event's own pair is in the memory, or before. Where q' nu
    is 0 there is no result.
    State: the count, the compensated sums mu and nu, and the newest query, 1 + 2 d_k' (d_v + 1) + d_k numbers; of h
    half-lives 1 + h (2 d_k' (d_v + 1) + 1) + d_k; with ``readout = "before"`` 1 + 2 d_v more a head.
    An event that comes late has just the weight that its time gives it: in whatever order events arrive, the memory is
    the same (forward decay). An epoch is one half-life: from one to the next the sums are halved, which is exact.
    References: Katharopoulos et al., Transformers are RNNs, arXiv 2006.16236; Cormode, Shkapenyuk, Srivastava, Xu:
    Forward Decay, ICDE 2009.
    """

    feature_map: FeatureMapName = "elu1"
    features: int | None = None
    seed: int | None = None
    nu: int | None = None
    half_life: Duration | None = None
    heads: Sequence[Duration] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._features
        if self.half_life is not None and self.heads is not None:
            raise OperatorError("heads", "found heads beside half_life, expected one of them")
        if self.half_life is not None:
            object.__setattr__(self, "half_life", length("half_life", self.half_life))
        if self.heads is not None:
            object.__setattr__(self, "heads", lengths("heads", self.heads))

    @property
    def algebra(self) -> Algebra:
        """A group: mu and nu are sums over all events."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, mu and nu as compensated sums, their epochs, and the newest query."""
        d_k, d_v = self.sizes(shapes)
        heads = () if self.heads is None else (len(self.heads),)
        # nu is the column of mu that values of 1 make: kept beside it, one product gives both q'mu and q'nu.
        matrix = (*heads, self._features(np.zeros((1, d_k))).shape[1], d_v + 1)
        memory = (Field("memory", matrix), Field("lost", matrix))
        epoch = () if self._half_lives is None else (Field("epoch", heads, dtype="<i8"),)
        return Layout((Field("count", dtype="<i8"), *memory, *epoch, *self.newest_fields(d_k, d_v, heads)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Add the batch to mu and nu; the read-out at each event."""
        sums = self._add(state, batch, _with_one(batch.columns["value"]), read=each or self.readout == "before")
        state["count"] += batch.groups.count
        return self.results(state, batch, None if sums is None else _ratio(sums), each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """The ratio of q'mu and q'nu."""
        return _ratio(np.einsum("gk,g...kv->g...v", self._features(query), state["memory"] + state["lost"]))

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"mu": [[...]], "nu": [...]}``; with half-lives also the Unix time of a weight of 1. Of heads lists."""
        memory = state["memory"] + state["lost"]
        columns = {"mu": memory[..., :-1].tolist(), "nu": memory[..., -1].tolist()}
        if self._half_lives is not None:
            columns["time"] = (state["epoch"] * np.squeeze(self._half_lives)).tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Add mu and nu, as of the later epoch."""
        kept = taken = np.ones(1)
        if self._half_lives is not None:
            epoch, its_epoch = self._by_head(state["epoch"]), self._by_head(other["epoch"])
            kept, taken = align(epoch, state["count"], its_epoch, other["count"])
        high, low, more, more_low = (self._by_head(of[name]) for of in (state, other) for name in ("memory", "lost"))
        high *= kept[..., None, None]
        low *= kept[..., None, None]
        add_sums(high, low, taken[..., None, None] * more, taken[..., None, None] * more_low)
        state["count"] += other["count"]
        self.take_newest(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """Take the pairs out of mu and nu; what is left keeps the roundings of the sums that they were in."""
        self._add(state, batch, -_with_one(batch.columns["value"]), read=False)
        state["count"] -= batch.groups.count

    def _add(self, state: State, batch: Batch, pairs: Floats, *, read: bool) -> Floats | None:
        """Add k'^T (v, 1) of each event to the memory. Returns both q'mu and q'nu at each of them, if asked to."""
        keys, gates = self._features(batch.columns["key"])[:, None], None
        if self._half_lives is not None:
            epoch = self._by_head(state["epoch"])
            left, weights = advance(batch.groups, epoch, state["count"], batch.time, self._half_lives)
            keys = keys * weights[..., None]
            gates = left[..., None] if (left < 1.0).any() else None
        sums = fold_pairs(
            batch.groups,
            self._by_head(state["memory"]),
            keys,
            pairs,
            gates=gates,
            queries=self._features(self.queries(batch))[:, None] if read else None,
            own=self.readout == "after",
            lost=self._by_head(state["lost"]),
        )
        return sums if sums is None or self.heads is not None else sums[:, 0]

    @cached_property
    def _half_lives(self) -> Floats | None:
        """In seconds, (H,)."""
        if self.heads is None and self.half_life is None:
            return None
        return np.array([self.half_life] if self.heads is None else self.heads, float)

    def _by_head(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array with an axis for the heads even if there is but one: a view."""
        return array[:, None] if self.heads is None else array

    @cached_property
    def _features(self) -> FeatureMap:
        return feature_map(self.feature_map, features=self.features, seed=self.seed, nu=self.nu)


def _with_one(values: Floats) -> Floats:
    """Values (N, d_v) with a 1 behind, which makes nu the last column of mu."""
    return np.concatenate([values, np.ones((len(values), 1))], axis=1)


def _ratio(sums: Floats) -> Floats:
    """Read-outs (N, ..., d_v) from q'mu with q'nu behind it."""
    rows = sums.reshape(-1, sums.shape[-1])
    return divide(rows[:, :-1], rows[:, -1]).reshape(*sums.shape[:-1], rows.shape[1] - 1)
