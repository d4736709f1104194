"""The exponentially weighted mean of a key's key-value pairs, by their number or by their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from operators.decays.ewma import Ewma
from operators.duration import Duration
from operators.pairs.pair_means import PairMeans


@dataclass(frozen=True, kw_only=True)
class KvEwma(PairMeans):
    """The exponentially weighted mean of the keys and of the values, and how well a query fits the mean key.

        Mem_i = sum_j w_j (k_j, v_j) / sum_j w_j,  w_j = (1 - alpha)^(i - j)  or  w_j = 2^(-(t - t_j) / half_life)
        score = q . k_mean / sqrt(d_k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; exactly one of ``alpha``, in (0, 1]; ``span``,
    at least 1, for alpha = 2 / (span + 1); ``half_life``, a duration of event time; ``heads``, a list of them: the
    means and the score are then lists with one for each. With ``adjust = false`` the first pair is where it starts; for
    ``alpha`` and ``span`` only. By time a pair that comes late has just the weight that its time gives it.
    State: what ``ewma`` keeps of the keys and of the values, that which both have in common once, and the newest query,
    4 + 3 d_k + 2 d_v numbers; of H heads 1 + 3H + (2H + 1) d_k + 2H d_v; with ``adjust = false`` d_k + d_v more. What
    decays, and how, is as in ``ewma``.
    References: Hunter 1986; Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009.
    """

    alpha: float | None = None
    half_life: Duration | None = None
    heads: Sequence[Duration] | None = None
    span: float | None = None
    adjust: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "half_life", self.mean.half_life)
        object.__setattr__(self, "heads", self.mean.heads)

    @cached_property
    def mean(self) -> Ewma:
        """The exponentially weighted mean of the vectors."""
        return Ewma(
            value=self.value,
            alpha=self.alpha,
            half_life=self.half_life,
            heads=self.heads,
            span=self.span,
            adjust=self.adjust,
        )
