"""The mean of all key-value pairs of a key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from operators.pairs.pair_means import PairMeans
from operators.statistics.mean import Mean


@dataclass(frozen=True, kw_only=True)
class KvMean(PairMeans):
    """The cumulative mean of the keys and of the values, and how well a query fits the mean key.

        Mem_n = ((k_n, v_n) + (n - 1) Mem_{n-1}) / n,  score = q . k_mean / sqrt(d_k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors. With one pair in the memory attention would give
    the mean value for every query, so the mean and the score are what is read.
    State: the count, the compensated sums of keys and values, and the newest query, 1 + 3 d_k + 2 d_v numbers.
    Reference: Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
    """

    @cached_property
    def mean(self) -> Mean:
        """The mean of all vectors."""
        return Mean(value=self.value)
