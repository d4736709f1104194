"""What one worker's ``/metrics`` said at a moment, and what happened between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name with its labels."""

_STARTED: Series = ("process_start_time_seconds", frozenset())


@dataclass(frozen=True)
class Samples:
    """``values`` by series, read ``at`` so many seconds of the monotonic clock."""

    at: float
    values: Mapping[Series, float]

    @classmethod
    def parse(cls, text: str, at: float) -> Samples:
        """Of Prometheus' text format. Raises ValueError if it is something else."""
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return cls(at, {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})

    def named(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Labels and value of each series of this name, ``streamfold_`` left out."""
        for (full, labels), value in self.values.items():
            if full == f"streamfold_{name}":
                yield dict(labels), value

    def since(self, before: Samples) -> Samples:
        """How much each counter grew; one that is less than before, or new, began at zero in between."""
        old = before.values if before.values.get(_STARTED) == self.values.get(_STARTED) else {}
        grown = {}
        for series, value in self.values.items():
            past = old.get(series, 0.0)
            grown[series] = value - past if value >= past else value
        return Samples(self.at, grown)


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """The ``q``-quantile of a histogram, ``buckets`` being cumulative counts by upper bound; None if it is empty.

    As Prometheus' ``histogram_quantile``: linear between the bounds of the bucket that it falls into, from zero on in
    the first one, and the largest finite bound if it is beyond that.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != inf or not buckets[inf]:
        return None
    rank = q * buckets[inf]
    lower, below = 0.0, 0.0
    for bound in bounds[:-1]:
        count = buckets[bound]
        if count >= rank:
            return lower + (bound - lower) * ((rank - below) / (count - below)) if count > below else lower
        lower, below = bound, count
    return lower
