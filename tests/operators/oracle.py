"""What every operator has to give, written from its formula, slowly, with exact sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators import Operator
from operators.columns.grouping import Floats

_TINY = 1e-305
"""Below this doubles lose their digits one by one."""


@dataclass
class History:
    """All events of one key in order of arrival: inputs by role, (n, ...), and times (n,)."""

    columns: Mapping[str, Floats]
    time: Floats


@dataclass
class Expected:
    """A result, and the size S that its error is measured against: that of sum w|x| / sum w."""

    value: Any
    size: Any


def weighted_mean(inputs: Floats, weights: Sequence[float]) -> Expected:
    """The weighted mean of inputs (n, ...) with its size; undefined if the weights sum to 0 or there is no input."""
    shape = inputs.shape[1:]
    total = math.fsum(weights)
    if total == 0:
        return Expected(np.full(shape, np.nan), np.full(shape, 1.0))
    flat = inputs.reshape(len(inputs), -1).T.tolist()
    value = [math.fsum(w * x for w, x in zip(weights, line, strict=True)) / total for line in flat]
    size = [math.fsum(abs(w * x) for w, x in zip(weights, line, strict=True)) / abs(total) for line in flat]
    return Expected(np.array(value).reshape(shape), np.array(size).reshape(shape))


Oracles = dict[type[Any], Callable[[Any, History], Expected]]
"""By operator, what gives the result of a history's last event, straight from the formula."""


def pair_history(operator: Operator, history: History) -> tuple[Floats, Floats, Floats]:
    """The keys and the values of a history, and its last event's query."""
    columns = history.columns
    return columns["key"], columns["value"], columns["query" if "query" in operator.inputs() else "key"][-1]


def own_error(operator: Any, history: History, expected: Expected) -> Expected:
    """With ``readout = "before"``: the prediction and the error of the last event's own value."""
    if operator.readout == "after":
        return expected
    own = history.columns["value"][-1]
    size = expected.size + np.abs(own)
    return Expected({"value": expected.value, "error": own - expected.value}, {"value": size, "error": size})


def assert_close(got: Any, expected: Any, size: Any, tolerance: float = 1e-12) -> None:
    """Within ``tolerance`` of the greater of the expected value and its size; undefined where that is."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for name in expected:
            assert_close(got[name], expected[name], size[name], tolerance)
        return
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    assert got.shape == expected.shape
    assert (np.isnan(got) == np.isnan(expected)).all(), (got, expected)
    error = np.where(np.isnan(expected), 0.0, np.abs(got - expected))
    assert (error <= tolerance * np.fmax(np.abs(expected), size) + _TINY).all(), (got, expected, error)
