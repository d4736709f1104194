"""The mean of the newest key-value pairs of a key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from operators.moving_mean import MovingMean
from operators.pair_means import PairMeans


@dataclass(frozen=True, kw_only=True)
class KvMovingMean(PairMeans):
    """The mean of the newest ``window`` keys and of their values, and how well a query fits the mean key.

        Mem_i = (sum_j k_j / c, sum_j v_j / c),  j over the newest c pairs,  score = q . k_mean / sqrt(d_k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``window``, c, in events; ``min_count``, how
    many events there must be for a result. Before the window is full the means are of the pairs that are there.
    State: what ``moving_mean`` keeps of the keys and of the values, and the newest query, 1 + (c + 4) d_k + (c + 3) d_v
    numbers. Both are summed as it does, so no spike leaves a trace.
    References: van Herk 1992 and Gil, Werman 1993 (sums of all windows without subtraction).
    """

    window: int
    min_count: int = 1

    memory: ClassVar[str] = "window"

    @cached_property
    def mean(self) -> MovingMean:
        """The mean of the newest vectors."""
        return MovingMean(value=self.value, window=self.window, min_count=self.min_count)
