"""The mean of the newest key-value pairs of a key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from operators.pairs.pair_means import PairMeans
from operators.windows.moving_mean import MovingMean


@dataclass(frozen=True, kw_only=True)
class KvMovingMean(PairMeans):
    """The mean of the newest keys and of their values, and how well a query fits the mean key.

        Mem_i = (sum_j k_j / n, sum_j v_j / n),  j over the n pairs in the window,  score = q . k_mean / sqrt(d_k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``window``, in events or a duration such as "5m"
    of event time; ``min_count``, how many events there must be in the window for a result. With a duration also
    ``closed`` and either ``panes`` or ``max_events``. The window, its options and what becomes of late events are those
    of ``moving_mean``.
    State: what ``moving_mean`` keeps of the keys and of the values, that which both have in common once, and the newest
    query: by c events 1 + (c + 4) d_k + (c + 3) d_v numbers, by p panes 3 + p + (2p + 1) d_k + 2p d_v, by n
    ``max_events`` 3 + n + (n + 1) d_k + n d_v. No spike leaves a trace.
    References: those of ``moving_mean``.
    """

    window: int | str
    min_count: int = 1
    closed: Literal["right", "both"] = "right"
    panes: int | None = None
    max_events: int | None = None

    memory: ClassVar[str] = "window"

    @cached_property
    def mean(self) -> MovingMean:
        """The mean of the newest vectors."""
        return MovingMean(
            value=self.value,
            window=self.window,
            min_count=self.min_count,
            closed=self.closed,
            panes=self.panes,
            max_events=self.max_events,
        )
