"""Linear attention: all key-value pairs of a key in one matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.arithmetic import divide
from operators.feature_maps import FEATURE_MAPS, FeatureMapName
from operators.grouping import Block, Floats
from operators.key_value import Attention
from operators.operator import Algebra, Batch, Field, Layout, Readout, Shape, State
from operators.options import one_of
from operators.scan import add_sums, two_sum

_LENGTH = 128
"""Events of a key taken at once: their L x L products must stay cheaper than going one by one."""

_CACHED = 1 << 15
"""Numbers of memory taken at once: few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class LinearAttention(Attention):
    """Attention with weights q' . k'_j, which a state of constant size can sum up: kernel regression over all events.

        mu_i = mu_{i-1} + k'_i^T v_i,  nu_i = nu_{i-1} + k'_i^T,  o_i = q'_i mu_i / (q'_i nu_i),  k' = phi(k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``feature_map``, phi: identity, elu1, relu or
    relu2; ``readout``, after the event's own pair is in the memory, or before. Where q' nu is 0 there is no result.
    State: the count, the compensated sums mu and nu, and the newest query, 1 + 2 d_k' (d_v + 1) + d_k numbers; with
    ``readout = "before"`` 1 + 2 d_v more.
    Reference: Katharopoulos et al., Transformers are RNNs, arXiv 2006.16236.
    """

    feature_map: FeatureMapName = "elu1"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("feature_map", self.feature_map, tuple(FEATURE_MAPS))

    @property
    def algebra(self) -> Algebra:
        """A group: mu and nu are sums over all events."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, mu and nu as compensated sums, and the newest query."""
        d_k, d_v = self.sizes(shapes)
        features = self._features(np.zeros((1, d_k))).shape[1]
        # nu is the column of mu that values of 1 make: kept beside it, one product gives both q'mu and q'nu.
        matrix = (features, d_v + 1)
        memory = (Field("memory", matrix), Field("lost", matrix))
        return Layout((Field("count", dtype="<i8"), *memory, *self.newest_fields(d_k, d_v)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Add the batch to mu and nu; the read-out at each event."""
        keys, pairs = self._features(batch.columns["key"]), _with_one(batch.columns["value"])
        state["count"] += batch.groups.count
        needed = each or self.readout == "before"
        queries = self._features(self.queries(batch)) if needed else None
        sums = np.empty_like(pairs)
        for block in self._pieces(batch, keys, pairs):
            events = block.events.T
            if queries is not None:
                memory = state["memory"][block.groups] + state["lost"][block.groups]
                block.put(self._read_outs(memory, queries[events], keys[events], pairs[events]).swapaxes(0, 1), sums)
            _add(state, block, keys[events], pairs[events])
        return self.results(state, batch, divide(sums[:, :-1], sums[:, -1]) if needed else None, each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """The ratio of q'mu and q'nu."""
        sums = np.einsum("gk,gkv->gv", self._features(query), state["memory"] + state["lost"])
        return divide(sums[:, :-1], sums[:, -1])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"mu": [[...]], "nu": [...]}``."""
        memory = state["memory"] + state["lost"]
        mu, nu = memory[:, :, :-1].tolist(), memory[:, :, -1].tolist()
        return [{"mu": matrix, "nu": vector} for matrix, vector in zip(mu, nu, strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Add mu and nu."""
        state["count"] += other["count"]
        add_sums(state["memory"], state["lost"], other["memory"], other["lost"])
        self.take_newest(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """Take the pairs out of mu and nu."""
        keys, pairs = self._features(batch.columns["key"]), _with_one(batch.columns["value"])
        state["count"] -= batch.groups.count
        for block in self._pieces(batch, keys, pairs):
            _add(state, block, keys[block.events.T], -pairs[block.events.T])

    def _features(self, x: Floats) -> Floats:
        return FEATURE_MAPS[self.feature_map](x)

    def _pieces(self, batch: Batch, keys: Floats, pairs: Floats) -> Iterator[Block]:
        return batch.groups.pieces(_LENGTH, max(1, _CACHED // (keys.shape[1] * pairs.shape[1])))

    def _read_outs(self, memory: Floats, query: Floats, key: Floats, pair: Floats) -> Floats:
        """Both q'mu and q'nu of L events of g keys, (g, L, d_v + 1), from the memory before them and their pairs."""
        own = 0 if self.readout == "after" else -1
        weights = np.tril(query @ key.swapaxes(1, 2), own)
        sums: Floats = query @ memory + weights @ pair
        return sums


def _with_one(values: Floats) -> Floats:
    """Values (N, d_v) with a 1 behind, which makes nu the last column of mu."""
    return np.concatenate([values, np.ones((len(values), 1))], axis=1)


def _add(state: State, block: Block, key: Floats, pair: Floats) -> None:
    """Add k'^T (v, 1) of a block's events, (g, L, ...), to the memory of their keys."""
    if block.inside is not None:
        key[np.arange(key.shape[1]) > block.last[:, None]] = 0.0
    high, error = two_sum(state["memory"][block.groups], key.swapaxes(1, 2) @ pair)
    state["memory"][block.groups] = high
    state["lost"][block.groups] += error
