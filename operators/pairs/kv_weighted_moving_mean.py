"""The mean of the newest key-value pairs of a key, each weighted by its age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from operators.pairs.pair_means import PairMeans
from operators.windows.weighted_moving_mean import WeightedMovingMean


@dataclass(frozen=True, kw_only=True)
class KvWeightedMovingMean(PairMeans):
    """The weighted mean of the newest keys and of their values, and how well a query fits the mean key.

        Mem_i = (w_1 (k, v)_{i-c+1} + ... + w_c (k, v)_i) / (w_1 + ... + w_c),  score = q . k_mean / sqrt(d_k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``weights``, oldest first, as many as the window
    has events; ``min_count``, how many events there must be for a result. Before the window is full the newest pair
    still has the last weight, and the sum of the weights in use divides.
    State: the count, the last c pairs and the newest query, 1 + (c + 1) d_k + c d_v numbers. Nothing runs, so nothing
    drifts.
    """

    weights: Sequence[float]
    min_count: int = 1

    memory: ClassVar[str] = "window"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", self.mean.weights)

    @cached_property
    def mean(self) -> WeightedMovingMean:
        """The weighted mean of the newest vectors."""
        return WeightedMovingMean(value=self.value, weights=self.weights, min_count=self.min_count)
