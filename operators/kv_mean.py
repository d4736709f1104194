"""The mean of all key-value pairs of a key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.arithmetic import divide
from operators.grouping import Floats, Ints
from operators.key_value import KeyValue
from operators.operator import Algebra, Batch, Field, Layout, Shape, State
from operators.scan import add_sums, running_sums


@dataclass(frozen=True, kw_only=True)
class KvMean(KeyValue):
    """The cumulative mean of the keys and of the values, and how well a query fits the mean key.

        Mem_n = ((k_n, v_n) + (n - 1) Mem_{n-1}) / n,  score = q . k_mean / sqrt(d_k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors. With one pair in the memory attention would give
    the mean value for every query, so the mean and the score are what is read.
    State: the count, the compensated sums of keys and values, and the newest query, 1 + 3 d_k + 2 d_v numbers.
    Reference: Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
    """

    @property
    def algebra(self) -> Algebra:
        """A group: counts and sums add up."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, the compensated sum of the pairs and the newest query."""
        d_k, d_v = self.sizes(shapes)
        pair = (d_k + d_v,)
        return Layout((Field("count", dtype="<i8"), Field("sum", pair), Field("lost", pair), Field("query", (d_k,))))

    def fold(self, state: State, batch: Batch, *, each: bool) -> dict[str, Floats] | None:
        """Add the batch to the sum; the means and the score after each event."""
        groups, queries = batch.groups, self.queries(batch)
        running = running_sums(groups, state["sum"], state["lost"], _pairs(batch), each=each)
        before = state["count"].copy()
        state["count"] += groups.count
        state["query"] = queries[groups.last]
        if running is None:
            return None
        total, lost = running
        return _means(total + lost, groups.ordinals(before), queries)

    def read(self, state: State, query: Floats | None = None) -> dict[str, Floats]:
        """The means, and the score of the newest query or of this one."""
        return _means(state["sum"] + state["lost"], state["count"], state["query"] if query is None else query)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "key": [...], "value": [...]}``."""
        means = self.read(state)
        rows = zip(state["count"].tolist(), means["key"].tolist(), means["value"].tolist(), strict=True)
        return [{"count": n, "key": key if n else None, "value": value if n else None} for n, key, value in rows]

    def merge(self, state: State, other: State) -> None:
        """Add counts and sums."""
        state["count"] += other["count"]
        add_sums(state["sum"], state["lost"], other["sum"], other["lost"])
        self.take_newest(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """Take the pairs out of count and sum."""
        state["count"] -= batch.groups.count
        running_sums(batch.groups, state["sum"], state["lost"], -_pairs(batch), each=False)


def _pairs(batch: Batch) -> Floats:
    """Each event's key and value as one vector, (N, d_k + d_v)."""
    return np.concatenate([batch.columns["key"], batch.columns["value"]], axis=1)


def _means(total: Floats, count: Ints, query: Floats) -> dict[str, Floats]:
    mean = divide(total, count)
    d_k = query.shape[1]
    key, value = mean[:, :d_k], mean[:, d_k:]
    return {"key": key, "value": value, "score": np.einsum("nd,nd->n", query, key) / math.sqrt(d_k)}
