"""The newest key-value pairs of a key, with attention over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.columns.history import newest_lists
from operators.operator import Algebra, Batch, Field, Layout, Ring, Shape, State
from operators.options import whole
from operators.pairs.softmax import Level, SoftmaxAttention, window


@dataclass(frozen=True, kw_only=True)
class KvWindow(SoftmaxAttention):
    """Softmax attention over the newest ``window`` pairs: the values that went with keys like the query.

        o = sum_j p_j v_j,  p = softmax(q . k_j / sqrt(d_k)),  j over the first s and the newest c pairs

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``window``, c, in events; ``sinks``, s, how many
    of a key's first pairs stay for good beside the window (0 by default); ``readout``, after the event's own pair is in
    the window, or before. A pair that is both among the first and in the window counts once.
    State: the count, s + c pairs and the newest query, 1 + (s + c) (d_k + d_v) + d_k numbers; with
    ``readout = "before"`` 1 + 2 d_v more.
    References: Vaswani et al., Attention Is All You Need, arXiv 1706.03762; Xiao et al., Efficient Streaming Language
    Models with Attention Sinks, arXiv 2309.17453.
    """

    window: int
    sinks: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("window", self.window, "of events")
        whole("sinks", self.sinks, "of events", at_least=0)

    @property
    def algebra(self) -> Algebra:
        """Ordered: the newest events are all there is."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the newest query, the first pairs and the window."""
        d_k, d_v = self.sizes(shapes)
        sinks = (Field("sink_keys", (self.sinks, d_k)), Field("sink_values", (self.sinks, d_v))) if self.sinks else ()
        rings = (Ring("key", self.window, (d_k,)), Ring("value", self.window, (d_v,)))
        return Layout((Field("count", dtype="<i8"), *sinks, *self.newest_fields(d_k, d_v)), rings)

    def levels(self, state: State, before: Ints, batch: Batch | None) -> Sequence[Level]:
        """The first pairs and the newest ones."""
        newest = window(state, before, batch)
        if not self.sinks:
            return (newest,)
        return (Level(_first(state), np.arange(len(before)), self._pinned(before), newest.new, newest.start), newest)

    def spans(self, end: Ints) -> Sequence[tuple[Ints, Ints]]:
        """The first pairs are seen for good, in the window only what is not among them."""
        newest = np.maximum(end - self.window, self.sinks), end
        return ((np.zeros_like(end), self._pinned(end)), newest) if self.sinks else (newest,)

    def merge(self, state: State, other: State) -> None:
        """Take the other one's first pairs while there is room; the windows are joined as rings are."""
        count = state["count"].copy()
        state["count"] += other["count"]
        if self.sinks:
            keys = np.arange(len(count))
            its_keys, its_values = (rows.reshape(-1, rows.shape[2]) for rows in _first(other))
            first = Level(_first(state), keys, self._pinned(count), (its_keys, its_values), self.sinks * keys)
            first.push(self._pinned(state["count"]))
        self.take_newest(state, other)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "keys": [oldest, ...], "values": [oldest, ...]}``, the first pairs with them."""
        columns = (state["count"].tolist(), *(self._held(state, role) for role in ("key", "value")))
        return [{"count": n, "keys": keys, "values": values} for n, keys, values in zip(*columns, strict=True)]

    def _pinned(self, count: Ints) -> Ints:
        """How many first pairs are kept of so many."""
        return np.minimum(count, self.sinks)

    def _held(self, state: State, role: str) -> list[list[object]]:
        """The inputs of a role that each key holds, oldest first."""
        count = state["count"]
        window = newest_lists(state.rings[role], count)
        if not self.sinks:
            return window
        in_window = np.maximum(count - np.maximum(count - self.window, self.sinks), 0)
        first = zip(state[f"sink_{role}s"].tolist(), count.tolist(), in_window.tolist(), strict=True)
        return [sinks[:n] + newest[len(newest) - m :] for (sinks, n, m), newest in zip(first, window, strict=True)]


def _first(state: State) -> tuple[Floats, Floats]:
    return state["sink_keys"], state["sink_values"]
