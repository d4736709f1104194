"""Quantiles: the accuracy that they promise, what becomes of it when bins run out, and another DDSketch."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from ddsketch import DDSketch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import Memory, OperatorError, Quantile
from operators.columns.grouping import Floats
from operators.statistics.log_bins import LogBins, coarser

QS = (0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0)
EPSILON = 1e-12
RNG = np.random.default_rng(0)

Draw = Callable[[int], Floats]
DRAWS: dict[str, Draw] = {
    "normal": lambda n: RNG.normal(size=n),
    "latencies": lambda n: RNG.lognormal(-3, 1.5, n),
    "counts": lambda n: RNG.poisson(3.0, n).astype(float),
    "constant": lambda n: np.full(n, -7.25),
    "every size": lambda n: RNG.choice([-1.0, 0.0, 1.0], n) * 10.0 ** RNG.uniform(-300, 300, n),
}


def folded(operator: Quantile, x: Floats, cuts: tuple[int, ...] = ()) -> tuple[Memory, Any]:
    memory = Memory(operator)
    edges = [0, *cuts, len(x)]
    return memory, np.concatenate([memory.fold(["a"] * (b - a), {"x": x[a:b]}) for a, b in pairwise(edges)])


def quantiles(memory: Memory) -> Floats:
    """Those of the only key."""
    read: Floats = np.asarray(memory.read(["a"]), float)[0]
    return read


def shown(memory: Memory) -> dict[str, Any]:
    """The state of the only key."""
    return dict(memory.export(["a"])[0])


def exact(x: Floats, qs: tuple[float, ...] = QS) -> Floats:
    result: Floats = np.quantile(x, qs, method="lower")
    return result


def assert_within(got: Floats, x: Floats, accuracy: float) -> None:
    wanted = exact(x)
    assert (np.abs(got - wanted) <= (accuracy + EPSILON) * np.abs(wanted)).all(), (got, wanted)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("accuracy", [0.1, 0.01, 0.001])
def test_the_relative_error_is_what_was_promised(draw: Draw, accuracy: float) -> None:
    x = draw(1500)
    operator = Quantile(value="x", q=QS, accuracy=accuracy, bins=2000)
    memory, got = folded(operator, x, (1, 2, 700))
    for i in (0, 1, 2, 10, 699, 700, 1499):
        assert_within(got[i], x[: i + 1], accuracy)
    np.testing.assert_array_equal(quantiles(memory), got[-1])
    assert shown(memory)["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("bins", [8, 40, 200])
def test_with_too_few_bins_the_accuracy_is_the_one_that_it_shows(draw: Draw, bins: int) -> None:
    x = draw(3000)
    memory = Memory(Quantile(value="x", q=QS, bins=bins))
    for a, b in pairwise([0, 1, 5, 200, 210, 1500, 3000]):
        got = np.asarray(memory.fold(["a"] * (b - a), {"x": x[a:b]}))
        state = shown(memory)
        assert len(state["values"]) <= bins
        assert sum(state["events"]) == b == state["count"]
        assert_within(got[-1], x[:b], state["accuracy"])


def test_each_collapse_squares_gamma() -> None:
    memory = Memory(Quantile(value="x", accuracy=0.01, bins=8))
    found = []
    for exponent in range(1, 9):
        memory.fold(["a"] * 8, {"x": 1.1 ** (exponent * np.arange(8.0))})
        found.append(shown(memory)["accuracy"])
    levels = [math.log2(math.atanh(accuracy) / math.atanh(0.01)) for accuracy in found]
    assert levels == pytest.approx([round(level) for level in levels], abs=1e-9)
    assert levels == sorted(levels)
    assert levels[0] == pytest.approx(0.0, abs=1e-9)
    assert levels[-1] >= 4


def test_an_event_s_result_does_not_know_of_a_collapse_that_comes_after_it() -> None:
    x = np.append(np.full(20, 3.0), 10.0 ** np.linspace(-9, 9, 50))
    operator = Quantile(value="x", bins=8)
    _, together = folded(operator, x)
    _, apart = folded(operator, x, tuple(range(1, len(x))))
    np.testing.assert_array_equal(together, apart)
    assert abs(together[19] - 3.0) <= 0.03
    assert abs(together[30] - 3.0) > 0.03


def test_neither_order_nor_parts_make_a_difference() -> None:
    x = DRAWS["every size"](900)
    operator = Quantile(value="x", q=QS, bins=64)
    whole, _ = folded(operator, x)
    shuffled, _ = folded(operator, RNG.permutation(x), (3, 400))
    parts = [folded(operator, part)[0] for part in np.split(x, [10, 11, 500])]
    for part in parts[1:]:
        parts[0].merge(part)
    for other in (shuffled, parts[0]):
        for name, array in whole.state().fields.items():
            np.testing.assert_array_equal(other.state().fields[name], array)


def test_what_is_taken_back_leaves_no_trace() -> None:
    x = DRAWS["normal"](300)
    operator = Quantile(value="x", q=QS)
    memory, _ = folded(operator, x)
    memory.retract(["a"] * 200, {"x": x[:200]})
    rest, _ = folded(operator, x[200:])
    for name, array in rest.state().fields.items():
        np.testing.assert_array_equal(memory.state().fields[name], array)


def test_after_a_collapse_events_can_be_taken_back_too() -> None:
    x = DRAWS["latencies"](2000)
    memory, _ = folded(Quantile(value="x", q=QS, bins=50), x)
    memory.retract(["a"] * 1500, {"x": x[:1500]})
    assert_within(quantiles(memory), x[1500:], shown(memory)["accuracy"])


def test_an_event_that_never_came_can_not_be_taken_back() -> None:
    memory, _ = folded(Quantile(value="x"), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="taken back that had never come"):
        memory.retract(["a"], {"x": [5.0]})
    assert quantiles(memory) == quantiles(folded(Quantile(value="x"), np.array([1.0, 2.0]))[0])


def test_each_number_of_a_vector_has_quantiles_of_its_own() -> None:
    x = np.column_stack([DRAWS[name](400) for name in ("normal", "latencies", "every size")])
    keys = RNG.integers(0, 5, 400)
    one, many = Quantile(value="v"), Quantile(value="v", q=QS, bins=100)
    for operator, shape in ((one, (400, 3)), (many, (400, len(QS), 3))):
        memory = Memory(operator, vectors={"v": 3})
        got = np.asarray(memory.fold(keys, {"v": x}))
        assert got.shape == shape
        for column in range(3):
            alone = Memory(Quantile(value="v", q=operator.q, bins=operator.bins)).fold(keys, {"v": x[:, column]})
            np.testing.assert_array_equal(got[..., column], alone)
    state = memory.export([0])[0]
    assert len(state["accuracy"]) == len(state["values"]) == len(state["events"]) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["normal", "latencies", "counts"])
def test_another_ddsketch_finds_the_same(name: str) -> None:
    x = DRAWS[name](5000)
    memory, _ = folded(Quantile(value="x", q=QS, bins=4000), x)
    other = DDSketch(0.01)
    for number in x.tolist():
        other.add(number)
    wanted = np.array([other.get_quantile_value(q) for q in QS], float)
    np.testing.assert_allclose(quantiles(memory), wanted, rtol=1e-9)


def test_worked_by_hand() -> None:
    """With an accuracy of 1/3 gamma is 2: the bins are (1, 2], (2, 4], ... and stand at 2/3 of their ends."""
    memory, got = folded(Quantile(value="x", q=[0, 0.5, 1], accuracy=1 / 3), np.array([3.0, 0.0, -8.0, 2.0, 5.0]))
    assert got.tolist() == [
        pytest.approx(row)
        for row in (
            [8 / 3, 8 / 3, 8 / 3],
            [0, 0, 8 / 3],
            [-16 / 3, 0, 8 / 3],
            [-16 / 3, 0, 8 / 3],
            [-16 / 3, 4 / 3, 16 / 3],
        )
    ]
    state = shown(memory)
    assert state["values"] == pytest.approx([-16 / 3, 0, 4 / 3, 8 / 3, 16 / 3])
    assert state["events"] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("accuracy", [1e-6, 0.01, 0.5, 0.99])
@settings(max_examples=200)
@given(x=st.floats(min_value=1e-300, allow_infinity=False), level=st.integers(0, 40))
def test_every_number_is_as_near_to_its_bin_as_the_accuracy_says(accuracy: float, x: float, level: int) -> None:
    bins = LogBins(accuracy)
    level = min(level, bins.levels)
    code = coarser(bins.codes(np.array([x, -x, 0.0])), level)
    values, bound = bins.values(code, np.array(level)), float(bins.accuracy_on(np.array(level)))
    assert abs(values[0] - x) <= bound * x * (1 + 1e-9) + 1e-10 * x
    assert values[1] == -values[0]
    assert values[2] == 0.0
    assert bound == pytest.approx(math.tanh(2**level * math.atanh(accuracy)))


def test_bins_are_in_the_order_of_their_numbers() -> None:
    x = np.sort(DRAWS["every size"](2000))
    for level in (0, 3, 16):
        assert (np.diff(coarser(LogBins(0.01).codes(x), level)) >= 0).all()
    ends = np.array([5e-324, 2.2e-308, 1.0, 1.7e308])
    codes = LogBins(1e-6).codes(ends)
    assert (codes > 0).all()
    assert codes.max() < 2**31


@pytest.mark.parametrize(
    ("options", "option", "said"),
    [
        ({"q": 1.1}, "q", "found 1.1, expected a number from 0 to 1"),
        ({"q": [0.5, -0.1]}, "q", "expected a number from 0 to 1, or a list of them"),
        ({"q": []}, "q", "expected a number from 0 to 1, or a list"),
        ({"q": "0.5"}, "q", "expected a number from 0 to 1"),
        ({"q": [True]}, "q", "found True, expected"),
        ({"accuracy": 0.0}, "accuracy", "found 0.0, expected a number of at least 1e-6, below 1"),
        ({"accuracy": 1.0}, "accuracy", "found 1.0, expected"),
        ({"accuracy": None}, "accuracy", "found None, expected"),
        ({"bins": 7}, "bins", "found 7, expected a whole number of bins, at least 8"),
        ({"bins": 100.0}, "bins", "found 100.0, expected a whole number"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        Quantile(value="x", **options)
    assert caught.value.option == option
    assert said in str(caught.value)


def test_a_list_is_kept_as_a_tuple() -> None:
    assert Quantile(value="x", q=[0, 1]) == Quantile(value="x", q=(0.0, 1.0))
    assert hash(Quantile(value="x", q=[0.5])) == hash(Quantile(value="x", q=(0.5,)))
