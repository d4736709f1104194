"""The same results by direct computation from the formulas, one event after the other.

It shares nothing with the operators it judges: running sums are exact integers, windows and decayed means are computed
from the events themselves for each result. Slow, and easy to believe.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Event = Mapping[str, Any]

_HALF_LIVES_THAT_COUNT = 64


@dataclass(frozen=True)
class Number:
    """An exact result, or None where it is undefined; ``scale`` is the weighted mean of the magnitudes in it."""

    value: float | None
    scale: float = 0.0

    def error(self, got: float | None) -> float:
        """How far off a result is, relative to the larger of value and scale; infinite if only one is undefined."""
        if got is None or self.value is None:
            return 0.0 if got is None and self.value is None else math.inf
        size = max(abs(self.value), self.scale)
        return abs(got - self.value) / size if size else abs(got)


class Exact(ABC):
    """One operator's memory of one key."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that an event must have to be folded."""
        roles = (self.options.get(role) for role in ("key", "value", "query"))
        return tuple(chain.from_iterable([role] if isinstance(role, str) else role for role in roles if role))

    @abstractmethod
    def fold(self, event: Event, time: float) -> None:
        """One more event, at its time in Unix seconds."""

    @abstractmethod
    def read(self) -> list[Number]:
        """The result, its numbers in the order in which the output record has them."""

    def number(self, event: Event) -> float:
        """The value, where it is one number."""
        return float(event[self.options["value"]])

    def vector(self, role: str, event: Event) -> list[float]:
        """A role's numbers."""
        field = self.options[role]
        return [float(x) for x in event[field]] if isinstance(field, str) else [float(event[name]) for name in field]


class Count(Exact):
    """How many."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.count = 0

    def fold(self, event: Event, time: float) -> None:
        """N + 1."""
        self.count += 1

    def read(self) -> list[Number]:
        """N."""
        return [Number(self.count)]


class Sum:
    """An exact running sum of floats and of products of two floats: an integer count of the smallest float's square."""

    _SHIFT = 2148

    def __init__(self) -> None:
        self.total = 0

    def add(self, x: float, y: float = 1.0) -> None:
        """One more product."""
        (a, b), (c, d) = x.as_integer_ratio(), y.as_integer_ratio()
        self.total += (a * c << self._SHIFT) // (b * d)

    def over(self, count: int) -> float:
        """The sum divided by a count, rounded once."""
        return self.total / (count << self._SHIFT)


class Mean(Exact):
    """Sum divided by count."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.count, self.sum, self.size = 0, Sum(), Sum()

    def fold(self, event: Event, time: float) -> None:
        """The value goes into both sums."""
        self.count += 1
        self.sum.add(self.number(event))
        self.size.add(abs(self.number(event)))

    def read(self) -> list[Number]:
        """Sum x / n."""
        return [Number(self.sum.over(self.count), self.size.over(self.count))] if self.count else [Number(None)]


class Window(Exact):
    """The newest values as they came, and their weighted mean."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.weights = [float(weight) for weight in options.get("weights", [1.0] * options.get("window", 0))]
        self.values: deque[float] = deque(maxlen=len(self.weights))

    def fold(self, event: Event, time: float) -> None:
        """The oldest value falls out of a full window."""
        self.values.append(self.number(event))

    def read(self) -> list[Number]:
        """Sum w x / sum w; the newest value has the last weight."""
        weights = self.weights[len(self.weights) - len(self.values) :]
        products = [weight * value for weight, value in zip(weights, self.values, strict=True)]
        total = math.fsum(weights)
        return [
            Number(math.fsum(products) / total, math.fsum(map(abs, products)) / abs(total)) if total else Number(None)
        ]


class Decayed(Exact):
    """The mean of all values, weighted by age: halved each half-life, or times 1 - alpha each event."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.by_time = "half_life" in options
        self.half_life = (
            _seconds(options["half_life"]) if self.by_time else -math.log(2) / math.log1p(-options["alpha"])
        )
        self.moments, self.values = array("d"), array("d")
        self.now = -math.inf
        self.first = 0

    def fold(self, event: Event, time: float) -> None:
        """Values that are too old to matter are left behind."""
        moment = time if self.by_time else float(len(self.values))
        self.now = max(self.now, moment)
        self.moments.append(moment)
        self.values.append(self.number(event))
        while self.moments[self.first] < self.now - _HALF_LIVES_THAT_COUNT * self.half_life:
            self.first += 1

    def read(self) -> list[Number]:
        """Sum w x / sum w with w = 2^(-age / half-life)."""
        if not self.values:
            return [Number(None)]
        ages = self.now - np.frombuffer(self.moments)[self.first :]
        weights = np.exp2(-ages / self.half_life)
        return _mix(weights, np.frombuffer(self.values)[self.first :, None])


class KvMean(Exact):
    """The mean key and the mean value, and the last query's score with the mean key."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.count = 0
        self.sums: dict[str, list[tuple[Sum, Sum]]] = {}
        self.query: list[float] = []

    def fold(self, event: Event, time: float) -> None:
        """Key and value go in together."""
        self.count += 1
        self.query = self.vector("query" if self.options.get("query") else "key", event)
        for role in ("key", "value"):
            numbers = self.vector(role, event)
            for (total, size), number in zip(
                self.sums.setdefault(role, [(Sum(), Sum()) for _ in numbers]), numbers, strict=True
            ):
                total.add(number)
                size.add(abs(number))

    def read(self) -> list[Number]:
        """The mean key, the mean value, and q k_mean / sqrt(d_k)."""
        if not self.count:
            return [Number(None)]
        key, value = (
            [Number(total.over(self.count), size.over(self.count)) for total, size in self.sums[role]]
            for role in ("key", "value")
        )
        products = [q * (k.value or 0.0) for q, k in zip(self.query, key, strict=True)]
        root = math.sqrt(len(key))
        return [*key, *value, Number(math.fsum(products) / root, math.fsum(map(abs, products)) / root)]


class KvWindow(Exact):
    """Softmax attention of the last key over the newest pairs, scaled by the root of the key's length."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.pairs: deque[tuple[list[float], list[float]]] = deque(maxlen=options["window"])

    def fold(self, event: Event, time: float) -> None:
        """The oldest pair falls out of a full window."""
        self.pairs.append((self.vector("key", event), self.vector("value", event)))

    def read(self) -> list[Number]:
        """Sum softmax(q k / sqrt(d_k)) v."""
        if not self.pairs:
            return [Number(None)]
        keys, values = (np.array(part) for part in zip(*self.pairs, strict=True))
        scores = keys @ keys[-1] / math.sqrt(keys.shape[1])
        return _mix(np.exp(scores - scores.max()), values)


class LinearAttention(Exact):
    """The mean of all values, weighted by the product of the mapped last key with each mapped key."""

    _MAPS: Mapping[str, Callable[[float], float]] = {
        "identity": lambda x: x,
        "elu1": lambda x: x + 1.0 if x > 0 else math.exp(x),
        "relu": lambda x: max(x, 0.0),
        "relu2": lambda x: max(x, 0.0) ** 2,
    }

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.map = self._MAPS[options["feature_map"]]
        self.query: list[float] = []
        self.mu: list[list[tuple[Sum, Sum]]] = []
        self.nu: list[Sum] = []

    def fold(self, event: Event, time: float) -> None:
        """Mu + k'v and nu + k'."""
        self.query = key = [self.map(x) for x in self.vector("key", event)]
        value = self.vector("value", event)
        if not self.nu:
            self.nu = [Sum() for _ in key]
            self.mu = [[(Sum(), Sum()) for _ in value] for _ in key]
        for k, row, total in zip(key, self.mu, self.nu, strict=True):
            total.add(k)
            for v, (product, size) in zip(value, row, strict=True):
                product.add(k, v)
                size.add(abs(k), abs(v))

    def read(self) -> list[Number]:
        """Q' mu / q' nu."""
        if not self.nu:
            return [Number(None)]
        weight = math.fsum(q * n.over(1) for q, n in zip(self.query, self.nu, strict=True))
        columns = range(len(self.mu[0]))
        if not weight:
            return [Number(None)]
        return [
            Number(
                math.fsum(q * row[i][0].over(1) for q, row in zip(self.query, self.mu, strict=True)) / weight,
                math.fsum(abs(q) * row[i][1].over(1) for q, row in zip(self.query, self.mu, strict=True)) / abs(weight),
            )
            for i in columns
        ]


EXACT: Mapping[str, type[Exact]] = {
    "count": Count,
    "mean": Mean,
    "moving_mean": Window,
    "weighted_moving_mean": Window,
    "ewma": Decayed,
    "kv_mean": KvMean,
    "kv_window": KvWindow,
    "linear_attention": LinearAttention,
}
"""By the name of the operator's type."""


def results(
    operators: Mapping[str, Mapping[str, Any]], events: Sequence[tuple[Event, float]]
) -> list[dict[str, list[Number]]]:
    """What a table publishes for one key: for each event, by operator, the exact result right after it.

    An event that lacks a field leaves the operators that read it as they are; one that all of them lack something of
    has no result.
    """
    memories = {name: EXACT[options["type"]](options) for name, options in operators.items()}
    published = []
    for event, time in events:
        used = [memory for memory in memories.values() if all(field in event for field in memory.reads)]
        for memory in used:
            memory.fold(event, time)
        if used:
            published.append({name: memory.read() for name, memory in memories.items()})
    return published


def _mix(weights: Floats, values: Floats) -> list[Number]:
    products = weights[:, None] * values
    sums, sizes, total = products.sum(0), abs(products).sum(0), weights.sum()
    return [
        Number(value, scale) for value, scale in zip((sums / total).tolist(), (sizes / total).tolist(), strict=True)
    ]


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    unit = duration.lstrip("0123456789.")
    return float(duration.removesuffix(unit)) * units[unit]
