"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from ``first`` to ``longest`` seconds, each drawn from the upper half of its span.

    The draw keeps tasks apart that failed together: their next tries would meet a weak broker at the same moment.
    """

    def __init__(self, first: float, longest: float) -> None:
        self.failures = 0
        self._first = first
        self._longest = longest

    def failed(self) -> float:
        """Count a failure; how many seconds to wait after it."""
        # A float has an exponent of eleven bits: an outage of days may fail more often than that.
        span = min(self._longest, self._first * 2.0 ** min(self.failures, 64))
        self.failures += 1
        return span * random.uniform(0.5, 1)

    def succeeded(self) -> None:
        """Begin anew: failures are counted in a row."""
        self.failures = 0
