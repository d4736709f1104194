"""The newest key-value pairs of a key, with attention over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from operators.grouping import Floats, Ints
from operators.history import key_slices, newest, newest_lists, stretches
from operators.key_value import Attention
from operators.operator import Algebra, Batch, Field, Layout, Readout, Ring, Shape, State
from operators.options import whole

_GATHERED = 1 << 17
"""Numbers gathered at once: few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class KvWindow(Attention):
    """Softmax attention over the newest ``window`` pairs: the values that went with keys like the query.

        o = sum_j p_j v_j,  p = softmax(q . k_j / sqrt(d_k)),  j over the newest c pairs

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``window``, c, in events; ``readout``, after the
    event's own pair is in the window, or before.
    State: the count, c pairs and the newest query, 1 + c (d_k + d_v) + d_k numbers; with ``readout = "before"``
    1 + 2 d_v more.
    Reference: Vaswani et al., Attention Is All You Need, arXiv 1706.03762.
    """

    window: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("window", self.window, "of events")

    @property
    def algebra(self) -> Algebra:
        """Ordered: the newest events are all there is."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the newest query and the window."""
        d_k, d_v = self.sizes(shapes)
        rings = (Ring("key", self.window, (d_k,)), Ring("value", self.window, (d_v,)))
        return Layout((Field("count", dtype="<i8"), *self.newest_fields(d_k, d_v)), rings)

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Move the window over the batch; the read-out at each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        readouts = self._read_outs(state, batch, before, each=each) if each or self.readout == "before" else None
        return self.results(state, batch, readouts, each=each)

    def attend(self, state: State, query: Floats) -> Floats:
        """Attention over the window."""
        keys, values, count = state.rings["key"], state.rings["value"], state["count"]
        result = np.empty((len(count), values.array.shape[2]))
        for part in key_slices(len(count), self.window):
            window = (newest(ring, count, self.window, part).swapaxes(1, 2) for ring in (keys, values))
            result[part] = _attention(query[part], next(window), next(window), count[part])
        return result

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "keys": [oldest, ...], "values": [oldest, ...]}``."""
        count = state["count"]
        columns = (count.tolist(), *(newest_lists(state.rings[role], count) for role in ("key", "value")))
        return [{"count": n, "keys": keys, "values": values} for n, keys, values in zip(*columns, strict=True)]

    def _read_outs(self, state: State, batch: Batch, before: Ints, *, each: bool) -> Floats:
        """The read-out at each sorted event; without ``each`` at the last one of each key only."""
        queries, values = self.queries(batch), batch.columns["value"]
        own = 1 if self.readout == "after" else 0
        have = batch.groups.ordinals(before) - 1 + own
        at_once = max(1, _GATHERED // (self.window * (queries.shape[1] + values.shape[1])))
        wanted = np.ones(len(have), bool)
        if not each:
            wanted[:] = False
            wanted[batch.groups.last] = True
        result = np.empty((len(have), values.shape[1]))
        for stretch in stretches(batch.groups, before, self.window):
            keys, pairs = (
                sliding_window_view(stretch.lay_out(state.rings[role], batch.columns[role]), self.window, axis=0)
                for role in ("key", "value")
            )
            events = stretch.events.start + np.flatnonzero(wanted[stretch.events])
            for i in range(0, len(events), at_once):
                now = events[i : i + at_once]
                first = stretch.at[now - stretch.events.start] - self.window + own
                result[now] = _attention(queries[now], keys[first], pairs[first], have[now])
        return result


def _attention(query: Floats, keys: Floats, values: Floats, have: Ints) -> Floats:
    """Attention of each query (n, d_k) over the newest ``have`` (n,) of its c pairs, keys (n, d_k, c) oldest first."""
    scores = (query[:, None, :] @ keys)[:, 0] / math.sqrt(query.shape[1])
    size = keys.shape[2]
    scores[np.arange(size) < size - have[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    readouts: Floats = (values @ weights[:, :, None])[:, :, 0]
    return readouts
