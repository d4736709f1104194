"""The newest key-value pairs of a key, with attention over them, and all older ones in one matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats, Ints, group
from operators.columns.history import earlier
from operators.matrices.feature_maps import FeatureMapName
from operators.matrices.linear_attention import LinearAttention
from operators.operator import Algebra, Batch, Layout, OperatorError, Readout, Shape, State
from operators.options import number
from operators.pairs.key_value import Attention
from operators.pairs.kv_window import KvWindow

_GATE = "a number between 0 and 1, the two left out"


@dataclass(frozen=True, kw_only=True)
class Infini(Attention):
    """Softmax attention over the newest ``window`` pairs, mixed with linear attention over all that came before them.

        o = g q' mu / (q' nu) + (1 - g) softmax(q K^T / sqrt(d_k)) V,  K, V: the newest c pairs
        mu = sum_j k'_j^T v_j,  nu = sum_j k'_j^T,  j over the older pairs,  k' = phi(k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``window``, c, in events; ``gate``, g, between 0
    and 1, the share of the older pairs (0.5 by default); ``feature_map``, phi, as ``linear_attention`` has it;
    ``readout``, after the event's own pair is in the window, or before. A pair goes to mu and nu when it leaves the
    window, so none counts twice. Until one has, the window alone is read; where q' nu is 0 then, there is no result.
    State: the count, c pairs, the compensated sums mu and nu, and the newest query, 1 + c (d_k + d_v) +
    2 d_k' (d_v + 1) + d_k numbers; with ``readout = "before"`` 1 + 2 d_v more.
    Reference: Munkhdalai, Faruqui, Gopal: Leave No Context Behind, arXiv 2404.07143.
    """

    window: int
    gate: float = 0.5
    feature_map: FeatureMapName = "elu1"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < number("gate", self.gate, _GATE) < 1:
            raise OperatorError("gate", f"found {self.gate}, expected {_GATE}")
        _ = self._newest, self._older

    @property
    def algebra(self) -> Algebra:
        """Ordered: later pairs push earlier ones out of the window."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the newest query, the window, and the sums over what has left it."""
        window = self._newest.layout(shapes)
        older = self._older.layout({"query": shapes["key"], **shapes}).fields
        return Layout((*window.fields, *(field for field in older if field not in window.fields)), window.rings)

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Move the window over the batch and add up what leaves it; the read-out at each event."""
        before, needed = state["count"].copy(), each or self.readout == "before"
        state["count"] += batch.groups.count
        older = self._add_leaving(state, batch, before, each=needed)
        readouts = None
        if needed:
            newest = self._newest.read_outs(self._newest.levels(state, before, batch), before, batch, each=each)
            readouts = self._mixed(newest, older, batch.groups.ordinals(before) - (self.readout == "before"))
        return self.results(state, batch, readouts, each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """Attention over the window, mixed with that over the older pairs."""
        return self._mixed(self._newest.attend(state, query), self._older.attend(state, query), state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "keys": [oldest, ...], "values": [oldest, ...], "mu": [[...]], "nu": [...]}``."""
        parts = zip(self._newest.export(state), self._older.export(state), strict=True)
        return [{**newest, **older} for newest, older in parts]

    def merge(self, state: State, other: State) -> None:
        """Add the pairs that the other one's push out of the window, and those that left its own."""
        held, more = (np.minimum(part["count"], self.window) for part in (state, other))
        keys, groups = group(np.repeat(np.arange(len(held)), np.maximum(held + more - self.window, 0)))
        of = keys[groups.segment]
        nth = (state["count"] - held)[of] + groups.position
        columns = {role: ring.array[ring.rows[of], nth % self.window] for role, ring in state.rings.items()}
        self._add(state, keys, Batch(groups, {"query": columns["key"], **columns}, np.zeros(len(nth))), each=False)
        self._older.merge(state, other)

    @cached_property
    def _newest(self) -> KvWindow:
        return KvWindow(key=self.key, value=self.value, query=self.query, window=self.window, readout=self.readout)

    @cached_property
    def _older(self) -> LinearAttention:
        query = self.key if self.query is None else self.query
        return LinearAttention(
            key=self.key, value=self.value, query=query, feature_map=self.feature_map, readout=self.readout
        )

    def _add_leaving(self, state: State, batch: Batch, before: Ints, *, each: bool) -> Floats:
        """Add each pair that leaves the window. With ``each``, returns what the older pairs give at every event.

        That is (N, d_v), NaN where no pair leaves.
        """
        events = np.flatnonzero(batch.groups.ordinals(before) > self.window)
        lag = np.array([self.window])
        columns = {
            role: earlier(ring, batch.columns[role], batch.groups, before, events=events, lags=lag)[:, 0]
            for role, ring in state.rings.items()
        }
        keys, groups = group(batch.groups.segment[events])
        leaving = Batch(groups, {"query": self.queries(batch)[events], **columns}, batch.time[events])
        readouts = self._add(state, keys, leaving, each=each)
        result = np.full_like(batch.columns["value"], np.nan)
        if readouts is not None:
            result[events] = readouts["value"] if isinstance(readouts, dict) else readouts
        return result

    def _add(self, state: State, keys: Ints, batch: Batch, *, each: bool) -> Readout | None:
        """Fold older pairs of these keys, whose groups they are; the count is of all pairs and stays."""
        part = State({name: array[keys] for name, array in state.fields.items()})
        readouts = self._older.fold(part, batch, each=each)
        for name in part.fields.keys() - {"count"}:
            state[name][keys] = part[name]
        return readouts

    def _mixed(self, newest: Floats, older: Floats, end: Ints) -> Floats:
        """Both attentions together, where the key has had ``end`` pairs, more than the window holds."""
        has_older: npt.NDArray[np.bool_] = end[:, None] > self.window
        return np.where(has_older, self.gate * older + (1.0 - self.gate) * newest, newest)
