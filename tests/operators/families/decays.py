"""Statistics that forget, and those that go by time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from operators import Cusum, EventRate, Ewma, Ewvar, TimeWeightedMean
from operators.columns.grouping import Floats
from operators.decays.ewvar import LEAST_PAIRS
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles, weighted_mean


def _headed(operator: Ewma | Ewvar | EventRate, one: list[Expected]) -> Expected:
    """What each half-life gives, with an axis for them if the operator has heads."""
    if operator.heads is None:
        return one[0]
    return Expected(np.stack([each.value for each in one]), np.stack([each.size for each in one]))


def _weights(operator: Ewma | Ewvar, history: History) -> list[list[float]]:
    """By head, the weight of each event."""
    if operator.by_time:
        lengths = operator.heads or (operator.half_life,)
        return [np.exp2((history.time - history.time.max()) / float(length or 0)).tolist() for length in lengths]
    alpha = operator.alpha or 2.0 / (operator.span + 1.0 if operator.span is not None else math.nan)
    age = np.arange(len(history.time) - 1, -1, -1.0)
    weights = (age == 0).astype(float) if alpha == 1 else np.exp(age * math.log1p(-alpha))
    if not operator.adjust:
        weights[1:] *= alpha
    return [weights.tolist()]


def _ewma(operator: Ewma, history: History) -> Expected:
    return _headed(
        operator, [weighted_mean(history.columns["value"], weights) for weights in _weights(operator, history)]
    )


def _ewvar(operator: Ewvar, history: History) -> Expected:
    inputs = history.columns["value"]
    lines = inputs.reshape(len(inputs), -1).T
    results = []
    for weights in _weights(operator, history):
        value = np.array([_variance(line, weights, bias=operator.bias) for line in lines]).reshape(inputs.shape[1:])
        least = 1e-80 * np.abs(inputs).max(axis=0) ** 2
        results.append(Expected(value, np.nan_to_num(value) + least))
    return _headed(operator, results)


def _variance(inputs: Floats, weights: Sequence[float], *, bias: bool) -> float:
    """The weighted variance as pandas defines it, in exact arithmetic; what weighs too little is forgotten."""
    (w, _), (x, x_unit) = _integers(weights), _integers(inputs.tolist())
    total, squares = sum(w), sum(a * a for a in w)
    linear = sum(a * b for a, b in zip(w, x, strict=True))
    spread = total * sum(a * b * b for a, b in zip(w, x, strict=True)) - linear * linear
    divisor = total * total if bias else total * total - squares
    if divisor < Fraction(LEAST_PAIRS) * total**2:
        return math.nan
    return float(Fraction(spread, divisor) * x_unit**2)


def _integers(numbers: Sequence[float]) -> tuple[list[int], Fraction]:
    """Numbers as whole multiples of a unit, exactly."""
    exponents = [math.frexp(number)[1] - 53 for number in numbers if number]
    unit = Fraction(2) ** min(exponents, default=0)
    return [int(Fraction(number) / unit) for number in numbers], unit


def _event_rate(operator: EventRate, history: History) -> Expected:
    time, end, begin = history.time.tolist(), history.time.max(), history.time.min()
    results = []
    for length in operator.heads or (operator.half_life,):
        if end - begin < 1e-9:
            rate = math.nan
        elif length is None:
            rate = float((len(time) - 1) / (Fraction(end) - Fraction(begin)))
        else:
            decay = math.log(2) / float(length)
            gaps = math.fsum(
                (math.exp(-decay * (end - t)) + math.exp(-decay * (end - before))) / 2
                for before, t in pairwise(sorted(time))
            )
            rate = gaps * decay / -math.expm1(-decay * (end - begin))
        results.append(Expected(np.array(rate), np.array(0.0)))
    return _headed(operator, results)


def _time_weighted_mean(operator: TimeWeightedMean, history: History) -> Expected:
    kept: list[tuple[float, Floats]] = []
    for t, x in zip(history.time.tolist(), history.columns["value"], strict=True):
        if not kept or t >= kept[-1][0]:
            kept.append((t, x))
    spans = [b - a for (a, _), (b, _) in pairwise(kept)]
    if not any(spans):
        return Expected(kept[-1][1], np.abs(kept[-1][1]))
    pairs = np.array([(x, x if operator.method == "locf" else y) for (_, x), (_, y) in pairwise(kept)])
    expected = weighted_mean(pairs.mean(axis=1), spans)
    return Expected(expected.value, weighted_mean(np.abs(pairs).mean(axis=1), spans).value)


def _cusum(operator: Cusum, history: History) -> Expected:
    inputs = history.columns["value"]
    lines = [_page(operator, line) for line in inputs.reshape(len(inputs), -1).T.tolist()]
    names = ("up", "down", "alarm")[: 2 if operator.threshold is None else 3]
    value = {name: np.array([line[i] for line in lines]).reshape(inputs.shape[1:]) for i, name in enumerate(names)}
    size = np.array([line[3] for line in lines]).reshape(inputs.shape[1:])
    return Expected(value, dict.fromkeys(names, size))


def _page(operator: Cusum, inputs: list[float]) -> tuple[float, float, float, float]:
    """Both sums and the alarm in exact arithmetic, and how much the sums took in since they were last 0."""
    sums, sizes, total = [Fraction(0), Fraction(0)], [0.0, 0.0], Fraction(0)
    for n, x in enumerate(map(Fraction, inputs), 1):
        total += x
        target = total / n if operator.target is None else Fraction(operator.target)
        for side, sign in enumerate((1, -1)):
            move = sign * (x - target) - Fraction(operator.drift)
            sizes[side] += abs(float(move)) + (abs(float(x)) if operator.target is None else 0.0)
            sums[side] += move
            if sums[side] <= 0:
                sums[side], sizes[side] = Fraction(0), abs(float(move))
    up, down = map(float, sums)
    alarm = 0.0 if operator.threshold is None or max(up, down) <= operator.threshold else 1.0 if up >= down else -1.0
    return up, down, alarm, max(sizes)


ORACLES: Oracles = {
    Cusum: _cusum,
    EventRate: _event_rate,
    Ewma: _ewma,
    Ewvar: _ewvar,
    TimeWeightedMean: _time_weighted_mean,
}

_HEADS = ("5s", "30s", "1h")


def _regular_rate(half_life: float) -> float:
    """The rate of events that come every second."""
    half = math.log(2) / half_life / 2
    return half / math.tanh(half)


_IN_ORDER = {"up": 0.0, "down": 0.0, "alarm": 0.0}

CASES = [
    Case("ewma-alpha", Ewma(value="x", alpha=0.3), NUMBER, forgets=True, tenths=0.1),
    Case("ewma-1", Ewma(value="x", alpha=1.0), NUMBER, forgets=True, tenths=0.1),
    Case("ewma-slow", Ewma(value="x", alpha=1e-6), VECTOR, forgets=True, tenths=0.1),
    Case("ewma-span", Ewma(value="x", span=9, adjust=False), NUMBER, forgets=True, tenths=0.1),
    Case("ewma-time", Ewma(value="x", half_life="3s"), NUMBER, any_order=True, forgets=True, tenths=0.1),
    Case("ewma-time-vector", Ewma(value="x", half_life="2m"), VECTOR, any_order=True, forgets=True, tenths=0.1),
    Case("ewma-heads", Ewma(value="x", heads=_HEADS), VECTOR, any_order=True, forgets=True, tenths=0.1),
    Case("ewvar-alpha", Ewvar(value="x", alpha=0.3), NUMBER, factors=2, tenths=0.0),
    Case("ewvar-slow", Ewvar(value="x", alpha=1e-6, bias=True), VECTOR, factors=2, tenths=0.0),
    Case("ewvar-span", Ewvar(value="x", span=9, adjust=False), NUMBER, factors=2, tenths=0.0),
    Case("ewvar-time", Ewvar(value="x", half_life="3s", bias=True), NUMBER, any_order=True, factors=2, tenths=0.0),
    Case("ewvar-heads", Ewvar(value="x", heads=_HEADS), VECTOR, any_order=True, factors=2, tenths=0.0),
    Case("event_rate", EventRate(), {}, same_bits=True, any_order=True, tenths=1.0),
    Case("event_rate-decayed", EventRate(half_life="5s"), {}, any_order=True, tenths=_regular_rate(5.0)),
    Case("event_rate-heads", EventRate(heads=["2s", "1m"]), {}, any_order=True),
    Case("time_weighted_mean", TimeWeightedMean(value="x"), NUMBER, same_bits=True, tenths=0.1),
    Case("time_weighted_mean-linear", TimeWeightedMean(value="x", method="linear"), VECTOR, same_bits=True, tenths=0.1),
    Case(
        "cusum",
        Cusum(value="x", drift=0.5, threshold=4.0),
        NUMBER,
        empty=0.0,
        tenths={"up": 0.0, "down": 0.0, "alarm": 0.0},
    ),
    Case("cusum-target", Cusum(value="x", target=0), VECTOR, empty=0.0, tenths={"up": 100_000.1, "down": 0.0}),
]
