"""The newest key-value pairs of a key, and behind them the older ones in segments, each pooled to one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.columns.history import earlier, newest_lists
from operators.operator import Batch, Field, Layout, Ring, RingView, Shape, State
from operators.options import whole
from operators.pairs.softmax import Level, SoftmaxAttention, window

_GATHERED = 1 << 17
"""Numbers gathered at once: few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Fifo(SoftmaxAttention):
    """Softmax attention over the newest pairs one by one and over older ones by segments: a long memory, coarsely.

        Mem = FIFO(S_kv, Mem_pre),  CMem = FIFO(C_kv, CMem_pre),  C_kv = the mean of the segment that leaves Mem
        o = sum_j p_j v_j,  p = softmax(q . k_j / sqrt(d_k)),  j over the rows of CMem and Mem

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``window``, c, how many of the newest pairs are
    in Mem; ``segment``, s, in events: so many pairs leave Mem together, when it has c + s, and their mean key and mean
    value become one row of CMem; ``compressed``, r, how many rows CMem has room for; ``readout``, after the event's own
    pair is in Mem, or before. Every pair is in one of the two, until its row leaves CMem at least c + s r events later.
    State: the count, c + s - 1 pairs, r rows and the newest query, 1 + (c + s - 1 + r) (d_k + d_v) + d_k numbers; with
    ``readout = "before"`` 1 + 2 d_v more. A row is summed once, from the pairs themselves, so nothing drifts. Where the
    segments are cut depends on how many pairs came before, so partial states do not merge.
    Reference: Rae et al., Compressive Transformers for Long-Range Sequence Modelling, arXiv 1911.05507.
    """

    window: int
    segment: int
    compressed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("window", self.window, "of events")
        whole("segment", self.segment, "of events")
        whole("compressed", self.compressed, "of rows")

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the newest query, the rows of CMem, and the pairs from which the next one is made."""
        d_k, d_v = self.sizes(shapes)
        rows = (Field("compressed_keys", (self.compressed, d_k)), Field("compressed_values", (self.compressed, d_v)))
        length = self.window + self.segment - 1
        rings = (Ring("key", length, (d_k,)), Ring("value", length, (d_v,)))
        return Layout((Field("count", dtype="<i8"), *rows, *self.newest_fields(d_k, d_v)), rings)

    def levels(self, state: State, before: Ints, batch: Batch | None) -> Sequence[Level]:
        """The rows of CMem and the pairs of Mem."""
        mem = window(state, before, batch)
        old = state["compressed_keys"], state["compressed_values"]
        new, start = mem.new, before
        if batch is not None:
            end = batch.groups.ordinals(before)
            leaving = np.flatnonzero(self._rows(end) > self._rows(end - 1))
            start = np.searchsorted(leaving, batch.groups.start)
            new = self._means(state, batch, "key", before, leaving), self._means(state, batch, "value", before, leaving)
        return (Level(old, np.arange(len(before)), self._rows(before), new, start), mem)

    def spans(self, end: Ints) -> Sequence[tuple[Ints, Ints]]:
        """The newest rows of CMem, and the pairs that are in none."""
        rows = self._rows(end)
        return ((np.maximum(rows - self.compressed, 0), rows), (self.segment * rows, end))

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "keys": [oldest, ...], "values": [...]}`` of Mem; ``compressed_keys`` and so on of CMem."""
        count = state["count"]
        rows, all_keys = self._rows(count), np.arange(len(count))
        columns: dict[str, list[Any]] = {"count": count.tolist()}
        for role in ("key", "value"):
            pairs = zip(newest_lists(state.rings[role], count), (count - self.segment * rows).tolist(), strict=True)
            columns[f"{role}s"] = [held[len(held) - n :] for held, n in pairs]
        for name in ("compressed_keys", "compressed_values"):
            columns[name] = newest_lists(RingView(state[name], all_keys), rows)
        return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]

    def _rows(self, end: Ints) -> Ints:
        """How many segments have left Mem when a key has had so many pairs."""
        return np.maximum(end - self.window, 0) // self.segment

    def _means(self, state: State, batch: Batch, role: str, before: Ints, leaving: Ints) -> Floats:
        """The means of the segments that leave Mem at these events. Each part is divided first, so none overflows."""
        column, ring = batch.columns[role], state.rings[role]
        lags = np.arange(self.window + self.segment - 1, self.window - 1, -1)
        result = np.empty((len(leaving), column.shape[1]))
        step = max(1, _GATHERED // (self.segment * column.shape[1]))
        for begin in range(0, len(leaving), step):
            events = leaving[begin : begin + step]
            segments = earlier(ring, column, batch.groups, before, events=events, lags=lags)
            result[begin : begin + step] = (segments / self.segment).sum(axis=1)
        return result
