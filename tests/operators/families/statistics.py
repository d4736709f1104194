"""Statistics of all events, in exact arithmetic: every double is a whole number over a power of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from operators import Corr, Cov, First, Last, Max, Min, Std, Sum, Var, WeightedMean, ZScore
from operators.columns.grouping import Floats
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles, weighted_mean


class Exact:
    """Inputs of one number of an event, (n,), as whole numbers of a unit."""

    def __init__(self, inputs: Floats) -> None:
        ratios = [x.as_integer_ratio() for x in inputs.tolist()]
        self.parts = max((denominator for _, denominator in ratios), default=1)
        self.units = [numerator * (self.parts // denominator) for numerator, denominator in ratios]
        self.total = sum(self.units)

    @property
    def mean(self) -> Fraction:
        return Fraction(self.total, len(self.units) * self.parts)

    def spread(self, other: Exact) -> Fraction:
        """The sum of (x - mean of x) (y - mean of y)."""
        n = len(self.units)
        product = sum(x * y for x, y in zip(self.units, other.units, strict=True))
        return Fraction(n * product - self.total * other.total, n * self.parts * other.parts)


def _each_number(inputs: Floats) -> list[Exact]:
    return [Exact(line) for line in inputs.reshape((len(inputs), -1)).T]


def _sum(operator: Sum, history: History) -> Expected:
    inputs = history.columns["value"]
    mean = weighted_mean(inputs, [1.0] * len(inputs))
    expected = Expected(mean.value * len(inputs), mean.size * len(inputs))
    return expected if len(inputs) >= operator.min_count else _undefined(inputs.shape[1:])


def _weighted_mean(operator: WeightedMean, history: History) -> Expected:
    inputs, weights = history.columns["value"], history.columns["weight"]
    return weighted_mean(inputs, weights.tolist() if len(inputs) >= operator.min_count else [0.0] * len(inputs))


def _undefined(shape: tuple[int, ...]) -> Expected:
    return Expected(np.full(shape, np.nan), 0.0)


def _variances(inputs: Floats, ddof: int) -> list[Fraction] | None:
    if len(inputs) <= ddof:
        return None
    return [numbers.spread(numbers) / (len(inputs) - ddof) for numbers in _each_number(inputs)]


def _root(square: Fraction) -> float:
    """The square root, however large or small."""
    exponent = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(square / Fraction(4) ** exponent), exponent)


def _var(operator: Var, history: History) -> Expected:
    inputs = history.columns["value"]
    variances = _variances(inputs, operator.ddof)
    if variances is None or len(inputs) < operator.min_count:
        return _undefined(inputs.shape[1:])
    values = [_root(variance) if isinstance(operator, Std) else float(variance) for variance in variances]
    return Expected(np.reshape(values, inputs.shape[1:]), 0.0)


def _zscore(operator: ZScore, history: History) -> Expected:
    inputs = history.columns["value"]
    measure = inputs[:-1] if operator.readout == "before" else inputs
    variances = _variances(measure, operator.ddof)
    if variances is None or len(measure) < operator.min_count:
        return _undefined(inputs.shape[1:])
    scores = []
    for x, numbers, variance in zip(inputs[-1:].reshape(-1).tolist(), _each_number(measure), variances, strict=True):
        distance = Fraction(x) - numbers.mean
        score = math.copysign(_root(distance**2 / variance), distance) if variance else math.nan
        scores.append(score)
    return Expected(np.reshape(scores, inputs.shape[1:]), 0.0)


def _joint(operator: Cov | Corr, history: History) -> Expected:
    one = history.columns["value"]
    other = one if operator.other is None else history.columns["other"]
    shape, n = (*one.shape[1:], *other.shape[1:]), len(one)
    if n < operator.min_count or n <= (operator.ddof if isinstance(operator, Cov) else 1):
        return _undefined(shape)
    left, right = _each_number(one), _each_number(other)
    matrix = [[_pair(operator, x, y) for y in right] for x in left]
    return Expected(*(np.reshape([pair[part] for row in matrix for pair in row], shape) for part in (0, 1)))


def _pair(operator: Cov | Corr, x: Exact, y: Exact) -> tuple[float, float]:
    """The result and its size."""
    product, square = x.spread(y), x.spread(x) * y.spread(y)
    if isinstance(operator, Corr):
        return (math.copysign(_root(product**2 / square), product) if square else math.nan), 1.0
    n = len(x.units) - operator.ddof
    return float(product / n), _root(square / n**2)


def _extreme(operator: Min | Max, history: History) -> Expected:
    inputs = history.columns["value"]
    if len(inputs) < operator.min_count:
        return _undefined(inputs.shape[1:])
    choose = min if isinstance(operator, Min) else max
    values = [choose(line) for line in inputs.reshape((len(inputs), -1)).T.tolist()]
    return Expected(np.reshape(values, inputs.shape[1:]), 0.0)


def _end(operator: First | Last, history: History) -> Expected:
    times: Sequence[tuple[float, int]] = list(zip(history.time.tolist(), range(len(history.time)), strict=True))
    _, place = min(times) if isinstance(operator, First) else max(times)
    return Expected(history.columns["value"][place], 0.0)


ORACLES: Oracles = {
    Sum: _sum,
    WeightedMean: _weighted_mean,
    Var: _var,
    Std: _var,
    ZScore: _zscore,
    Min: _extreme,
    Max: _extreme,
    First: _end,
    Last: _end,
    Cov: _joint,
    Corr: _joint,
}

_WEIGHTED = {**NUMBER, "weight": ()}
_TWO = {**NUMBER, "other": ()}

CASES = [
    Case("sum", Sum(value="x"), NUMBER, same_bits=True, any_order=True, empty=0.0, tenths=100_000.1),
    Case("sum-full", Sum(value="x", min_count=3), VECTOR, same_bits=True, any_order=True, tenths=100_000.1),
    Case(
        "weighted_mean",
        WeightedMean(value="x", weight="w"),
        _WEIGHTED,
        same_bits=True,
        any_order=True,
        factors=2,
        ranges={"weight": (0.0, 10.0)},
        tenths=0.1,
    ),
    Case(
        "weighted_mean-signed",
        WeightedMean(value="x", weight="w", min_count=2),
        {**VECTOR, "weight": ()},
        same_bits=True,
        any_order=True,
        factors=2,
        tenths=0.1,
    ),
    Case("var", Var(value="x"), NUMBER, same_bits=True, any_order=True, factors=2, tenths=0.0),
    Case("var-vector", Var(value="x", ddof=0), VECTOR, same_bits=True, any_order=True, factors=2, tenths=0.0),
    Case("std", Std(value="x", min_count=4), NUMBER, same_bits=True, any_order=True, factors=2, tenths=0.0),
    Case("std-vector", Std(value="x", ddof=2), VECTOR, same_bits=True, any_order=True, factors=2, tenths=0.0),
    Case("zscore", ZScore(value="x"), NUMBER, same_bits=True, factors=2, tenths=math.nan),
    Case("zscore-vector", ZScore(value="x", ddof=0, min_count=5), VECTOR, same_bits=True, factors=2, tenths=math.nan),
    Case("zscore-after", ZScore(value="x", readout="after"), VECTOR, same_bits=True, factors=2, tenths=math.nan),
    Case("min", Min(value="x"), NUMBER, same_bits=True, any_order=True, tenths=0.1),
    Case("min-vector", Min(value="x", min_count=3), VECTOR, same_bits=True, any_order=True, tenths=0.1),
    Case("max", Max(value="x", min_count=2), NUMBER, same_bits=True, any_order=True, tenths=0.1),
    Case("max-vector", Max(value="x"), VECTOR, same_bits=True, any_order=True, tenths=0.1),
    Case("first", First(value="x"), NUMBER, same_bits=True, any_order=True, tenths=0.1),
    Case("first-vector", First(value="x"), VECTOR, same_bits=True, any_order=True, tenths=0.1),
    Case("last", Last(value="x"), NUMBER, same_bits=True, any_order=True, tenths=0.1),
    Case("last-vector", Last(value="x"), VECTOR, same_bits=True, any_order=True, tenths=0.1),
    Case("cov", Cov(value="x", other="y"), _TWO, same_bits=True, any_order=True, factors=2, tenths=0.0),
    Case("cov-matrix", Cov(value="x", ddof=0), VECTOR, same_bits=True, any_order=True, factors=2, tenths=0.0),
    Case(
        "cov-cross",
        Cov(value="x", other="y", min_count=5),
        {**VECTOR, "other": (2,)},
        same_bits=True,
        any_order=True,
        factors=2,
        tenths=0.0,
    ),
    Case("corr", Corr(value="x", other="y"), _TWO, same_bits=True, any_order=True, factors=2, tenths=math.nan),
    Case("corr-matrix", Corr(value="x"), VECTOR, same_bits=True, any_order=True, factors=2, tenths=math.nan),
    Case(
        "corr-cross",
        Corr(value="x", other="y", min_count=4),
        {**VECTOR, "other": ()},
        same_bits=True,
        any_order=True,
        factors=2,
        tenths=math.nan,
    ),
]
