"""Quantiles: the bin of the exact one, with bins as wide as the number of bins in use makes them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from operators import Quantile
from tests.operators.cases import NUMBER, VECTOR, Case
from tests.operators.oracle import Expected, History, Oracles


def _quantile(operator: Quantile, history: History) -> Expected:
    inputs = history.columns["value"]
    qs = operator.q if isinstance(operator.q, Sequence) else [operator.q]
    lines = inputs.reshape(len(inputs), -1).T.tolist()
    value = np.array([[sketched(operator, line, q) for line in lines] for q in qs]).reshape(len(qs), *inputs.shape[1:])
    return Expected(value if isinstance(operator.q, Sequence) else value[0], 0.0)


def sketched(operator: Quantile, numbers: Sequence[float], q: float) -> float:
    """What stands for the bin of the element of rank floor(q (n - 1))."""
    exact = sorted(numbers)[math.floor(q * (len(numbers) - 1))]
    width = 2 * math.atanh(operator.accuracy)
    while len({_bin(x, width) for x in numbers}) > operator.bins:
        width *= 2
    sign, k = _bin(exact, width)
    if sign == 0:
        return 0.0
    return sign * min(math.exp((k - 0.5) * width) / math.cosh(width / 2), sys.float_info.max)


def _bin(x: float, width: float) -> tuple[int, int]:
    """The sign of a number, and k where its size is in (gamma^(k-1), gamma^k]."""
    return (0, 0) if x == 0 else (1 if x > 0 else -1, math.ceil(math.log(abs(x)) / width))


ORACLES: Oracles = {Quantile: _quantile}

_MEDIAN = Quantile(value="x")
_MANY = Quantile(value="x", q=[0, 0.25, 0.5, 0.99, 1], accuracy=0.01, bins=128)

CASES = [
    Case("quantile", _MEDIAN, NUMBER, same_bits=True, any_order=True, tenths=sketched(_MEDIAN, [0.1], 0.5)),
    Case("quantile-many", _MANY, VECTOR, same_bits=True, any_order=True, tenths=sketched(_MANY, [0.1], 0.5)),
]
