"""Statistics of hard inputs: levels, spikes and magnitudes, parts that are merged, events that are taken back."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from operators import (
    Corr,
    Cov,
    Memory,
    Operator,
    Var,
    ZScore,
)
from operators.columns.grouping import Floats
from tests.operators.families.statistics import Exact
from tests.operators.one_key import MARKS, fold, read

RNG = np.random.default_rng(31)


def variance(x: Floats) -> Fraction:
    exact = Exact(x)
    return exact.spread(exact) / (len(x) - 1)


HARD = {
    "a level of 1e12": 1e12 + RNG.normal(size=3000),
    "a spike first": np.append(1e15, RNG.normal(size=3000)),
    "a start at 0": np.append(0.0, 1e9 + RNG.normal(size=3000)),
    "a level shift": np.append(RNG.normal(size=1500), 1e9 + RNG.normal(size=1500)),
    "all but equal": 1.0 + 1e-15 * RNG.integers(0, 3, 3000),
    "tiny": 1e-140 * RNG.normal(size=3000),
    "great": 1e150 * RNG.normal(size=3000),
    "all magnitudes": RNG.normal(size=3000) * 10.0 ** RNG.uniform(-140, 140, 3000),
}


@pytest.mark.parametrize("x", HARD.values(), ids=HARD.keys())
def test_a_variance_is_right_to_the_last_digits(x: Floats) -> None:
    memory = Memory(Var(value="x"))
    for begin in range(0, len(x), 100):
        memory.fold(["a"] * len(x[begin : begin + 100]), {"x": x[begin : begin + 100]}, each=False)
    assert read(memory) == pytest.approx(float(variance(x)), rel=1e-15, abs=0)
    part = Memory(Var(value="x"))
    part.fold(["a"] * (len(x) // 2), {"x": x[: len(x) // 2]})
    other = Memory(Var(value="x"))
    other.fold(["a"] * (len(x) - len(x) // 2), {"x": x[len(x) // 2 :]})
    other.merge(part)
    assert read(other) == pytest.approx(float(variance(x)), rel=1e-15, abs=0)


def test_parts_at_different_levels_merge_exactly() -> None:
    one, other = RNG.normal(size=100), 1e12 + RNG.normal(size=100)
    memory, _ = fold(Cov(value="x", other="y"), x=one, y=other)
    second, _ = fold(Cov(value="x", other="y"), x=other, y=one)
    memory.merge(second)
    x, y = Exact(np.append(one, other)), Exact(np.append(other, one))
    assert read(memory) == pytest.approx(float(x.spread(y) / 199), rel=1e-15, abs=0)


@pytest.mark.parametrize("cut", [0, 1, 19, 20])
def test_the_newest_event_of_a_merge_is_measured_by_all_before_it(cut: int) -> None:
    x = RNG.normal(5.0, 2.0, size=20)
    memory, _ = fold(ZScore(value="x"), x=x[:cut])
    memory.merge(fold(ZScore(value="x"), x=x[cut:])[0])
    _, results = fold(ZScore(value="x"), x=x)
    assert read(memory) == pytest.approx(results[-1], rel=1e-14)


def test_a_score_at_a_high_level_keeps_its_digits() -> None:
    x = 1e12 + RNG.normal(size=1000)
    _, results = fold(ZScore(value="x"), x=x)
    exact = Exact(x[:-1])
    wanted = float(Fraction(x[-1]) - exact.mean) / math.sqrt(variance(x[:-1]))
    assert results[-1] == pytest.approx(wanted, rel=1e-15, abs=0)


def test_what_is_left_after_others_were_taken_back_is_right_to_the_last_digits() -> None:
    x = HARD["a spike first"]
    memory, _ = fold(Var(value="x"), x=x)
    memory.retract(["a"] * 2000, {"x": x[500:2500]})
    left = np.append(x[:500], x[2500:])
    assert read(memory) == pytest.approx(float(variance(left)), rel=1e-15, abs=0)


def test_one_event_that_is_left_after_others_were_taken_back_does_not_vary() -> None:
    x = 1e6 * RNG.normal(size=(40, 20))
    x[0], x[-1] = 1.0, 1.001
    for operator in (Corr(value="v"), Var(value="v", ddof=0)):
        memory, _ = fold(operator, vectors={"v": 20}, v=x)
        memory.retract(["a"] * 39, {"v": x[:-1]})
        assert (np.isnan(read(memory)) if isinstance(operator, Corr) else read(memory) == 0).all()


def test_equal_events_that_are_left_after_the_first_was_taken_back_do_not_vary() -> None:
    first, same = RNG.normal(size=(2, 20))
    memory, _ = fold(Corr(value="v"), vectors={"v": 20}, v=[first, *[same] * 11])
    memory.retract(["a"], {"v": [first]})
    assert np.isnan(read(memory)).all()


@pytest.mark.parametrize("operator", [Var(value="x"), ZScore(value="x"), ZScore(value="x", readout="after")])
def test_an_event_whose_square_is_too_great_is_refused_itself(operator: Operator) -> None:
    memory, _ = fold(operator, x=MARKS)
    before = memory.to_bytes()
    with pytest.raises(OverflowError):
        memory.fold(["a"], {"x": [1e200]})
    assert memory.to_bytes() == before
    assert np.isfinite(memory.fold(["a"], {"x": [3.0]})).all()


def test_what_the_newest_event_was_measured_by_survives_its_size() -> None:
    memory, results = fold(ZScore(value="x"), x=[*MARKS, 1e100])
    assert read(memory) == results[-1] == pytest.approx((1e100 - 5) / math.sqrt(32 / 7), rel=1e-15)
    more, _ = fold(ZScore(value="x"), x=[1e100])
    start, _ = fold(ZScore(value="x"), x=MARKS)
    start.merge(more)
    assert read(start) == pytest.approx(results[-1], rel=1e-15)
