"""The same means event by event, as a program has them that takes one record after the other: an object a key.

Each event is looked up by its key's row and folded by a call, which gives the result. As the operators do, the sums
carry along what rounding took away, and so give the same results after any number of events.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from bench.operators.loops import Events, Loop


class Record(Protocol):
    """The memory of one key."""

    def fold(self, x: float, w: float, time: float) -> float:
        """Add an event, its number, weight and time; the result."""
        ...


def by_record(make: Callable[[], Record]) -> Callable[[int], Loop]:
    """The loop that folds each event into the object of its key."""

    def loop(_keys: int) -> Loop:
        records: dict[int, Record] = {}

        def fold(events: Events, each: bool) -> list[Any]:
            results = []
            for row, x, w, time in zip(events.rows, events.x, events.w, events.times, strict=True):
                record = records.get(row)
                if record is None:
                    record = records[row] = make()
                results.append(record.fold(x, w, time))
            return results if each else []

        return fold

    return loop


class Sum:
    """A compensated sum (Neumaier 1974)."""

    __slots__ = ("high", "low")

    def __init__(self) -> None:
        self.high = self.low = 0.0

    def add(self, term: float) -> float:
        """Add a term; the sum."""
        old = self.high
        self.high = new = old + term
        self.low += (old - new) + term if abs(old) >= abs(term) else (term - new) + old
        return new + self.low

    def scale(self, factor: float) -> None:
        """Multiply it."""
        self.high *= factor
        self.low *= factor


class Mean:
    """Count and sum."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count, self.sum = 0, Sum()

    def fold(self, x: float, w: float, time: float) -> float:
        """The mean so far."""
        self.count += 1
        return self.sum.add(x) / self.count


class WeightedMean:
    """Sums of weights and of weighted inputs."""

    __slots__ = ("sum", "weight")

    def __init__(self) -> None:
        self.sum, self.weight = Sum(), Sum()

    def fold(self, x: float, w: float, time: float) -> float:
        """The weighted mean so far."""
        return self.sum.add(w * x) / self.weight.add(w)


class MovingMean:
    """A queue and its sum."""

    __slots__ = ("queue", "sum", "window")

    def __init__(self, window: int) -> None:
        self.window, self.queue, self.sum = window, deque[float](), Sum()

    def fold(self, x: float, w: float, time: float) -> float:
        """The mean of the newest events."""
        self.queue.append(x)
        if len(self.queue) > self.window:
            self.sum.add(-self.queue.popleft())
        return self.sum.add(x) / len(self.queue)


class Ewma:
    """Decayed sums of inputs and of ones."""

    __slots__ = ("kept", "sum", "weight")

    def __init__(self, alpha: float) -> None:
        self.kept, self.sum, self.weight = 1.0 - alpha, Sum(), Sum()

    def fold(self, x: float, w: float, time: float) -> float:
        """The decayed mean."""
        self.sum.scale(self.kept)
        self.weight.scale(self.kept)
        return self.sum.add(x) / self.weight.add(1.0)


class TimedEwma:
    """Sums that decay with time; an event that comes late is decayed instead of them."""

    __slots__ = ("half_life", "newest", "sum", "weight")

    def __init__(self, half_life: float) -> None:
        self.half_life, self.newest, self.sum, self.weight = half_life, -math.inf, Sum(), Sum()

    def fold(self, x: float, w: float, time: float) -> float:
        """The decayed mean."""
        gap, weight = time - self.newest, 1.0
        if gap >= 0:
            kept, self.newest = 2.0 ** (-gap / self.half_life), time
            self.sum.scale(kept)
            self.weight.scale(kept)
        else:
            weight = 2.0 ** (gap / self.half_life)
        return self.sum.add(weight * x) / self.weight.add(weight)
