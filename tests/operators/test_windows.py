"""Windows by number and by event time: what is in them, what is not, and what has left no trace."""

from __future__ import annotations

import datetime
import math
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from river import stats, utils

from operators import (
    Memory,
    MovingMax,
    MovingMean,
    MovingMin,
    MovingStd,
    MovingSum,
    MovingVar,
    OperatorError,
    WeightedMovingMean,
)
from operators.columns.grouping import Floats
from operators.windows.aggregate import Aggregate
from operators.windows.moving import Moving
from tests.operators.driver import Driver
from tests.operators.families.windows import STATISTICS, fold

every_statistic = pytest.mark.parametrize("name", STATISTICS)

RNG = np.random.default_rng(30)
KEYS = RNG.integers(0, 3, 900)
X = RNG.normal(size=900)
MILLISECONDS = 1_700_000_000_000 + np.cumsum(RNG.integers(0, 800, 900))
CUTS = [0, 1, 2, 9, 300, 800, 900]


def fold_all(operator: Moving, times: Floats) -> Floats:
    """Fold the events of all keys in several batches."""
    got = Driver(operator, {"value": ()}, 3).fold_in_batches(KEYS, {"value": X}, times, CUTS[1:-1])
    return np.asarray(got, float)


def rolling(name: str, milliseconds: Any, window: Any, **options: Any) -> Floats:
    """What pandas makes of the same events, key by key."""
    wanted = np.empty(len(X))
    for key in range(3):
        at = np.flatnonzero(key == KEYS)
        series = pd.Series(X[at], index=pd.to_datetime(milliseconds[at], unit="ms"))
        wanted[at] = getattr(series.rolling(window, **{"min_periods": 1, **options}), name)()
    return wanted


# Agreement with other libraries


@every_statistic
@pytest.mark.parametrize("window", [1, 2, 30, 500])
def test_windows_of_events_are_those_of_pandas(name: str, window: int) -> None:
    got = fold_all(STATISTICS[name](value="x", window=window), np.zeros(900))
    np.testing.assert_allclose(got, rolling(name, MILLISECONDS, window), rtol=1e-11, atol=1e-13)


@every_statistic
@pytest.mark.parametrize("closed", ["right", "both"])
@pytest.mark.parametrize("window", ["3s", "100ms", "1m"])
def test_exact_windows_of_time_are_those_of_pandas(name: str, closed: Any, window: str) -> None:
    operator = STATISTICS[name](value="x", window=window, max_events=300, closed=closed)
    wanted = rolling(name, MILLISECONDS, window.replace("m", "min") if window == "1m" else window, closed=closed)
    np.testing.assert_allclose(fold_all(operator, MILLISECONDS / 1000), wanted, rtol=1e-11, atol=1e-13)


@every_statistic
@pytest.mark.parametrize("closed", ["right", "both"])
def test_panes_are_exact_when_the_newest_time_is_an_edge(name: str, closed: Any) -> None:
    tenths = MILLISECONDS // 100 * 100
    operator = STATISTICS[name](value="x", window="3s", panes=30, closed=closed)
    wanted = rolling(name, tenths, "3s", closed=closed)
    np.testing.assert_allclose(fold_all(operator, tenths / 1000), wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("min_count", [2, 5])
@pytest.mark.parametrize("options", [{"window": 5}, {"window": "2s", "max_events": 100}])
def test_too_few_events_are_no_result_as_in_pandas(min_count: int, options: Any) -> None:
    got = fold_all(MovingVar(value="x", min_count=min_count, **options), MILLISECONDS / 1000)
    wanted = rolling("var", MILLISECONDS, options["window"], min_periods=min_count)
    assert np.isnan(got).any()
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)
    free = fold_all(MovingVar(value="x", ddof=3, **options), MILLISECONDS / 1000)
    assert (free[np.isfinite(free)] > 0).all()
    enough = fold_all(MovingMin(value="x", min_count=4, **options), MILLISECONDS / 1000)
    np.testing.assert_array_equal(np.isnan(free), np.isnan(enough))


@pytest.mark.parametrize(
    ("statistic", "cls"), [(stats.Mean, MovingMean), (stats.Sum, MovingSum), (stats.Var, MovingVar)]
)
def test_windows_are_those_of_river(statistic: Any, cls: Any) -> None:
    rolled: Any = utils.Rolling(statistic, window_size=20)
    timed: Any = utils.TimeRolling(statistic, period=datetime.timedelta(seconds=3))
    by_number, by_time = [], []
    for x, ms in zip(X.tolist(), MILLISECONDS.tolist(), strict=True):
        rolled.update(x)
        timed.update(x, t=pd.Timestamp(ms, unit="ms").to_pydatetime())
        by_number.append(rolled.get())
        by_time.append(timed.get())
    # To river one event has the variance 0, and what it takes out again leaves its rounding.
    first, again = (
        np.nan_to_num(fold(operator, X, MILLISECONDS / 1000))
        for operator in (cls(value="x", window=20), cls(value="x", window="3s", max_events=100))
    )
    np.testing.assert_allclose(first, by_number, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(again, by_time, rtol=1e-9, atol=1e-11)


# What is in a window of time


@pytest.mark.parametrize("options", [{"panes": 3}, {"max_events": 9}])
def test_an_event_leaves_when_it_is_as_old_as_the_window_is_long(options: Any) -> None:
    right, both = (MovingSum(value="x", window="3s", closed=closed, **options) for closed in ("right", "both"))
    x, times = [1, 10, 100, 1000, 10000], [0.0, 1.0, 2.0, 3.0, 3.5]
    exact = "max_events" in options
    assert fold(right, x, times).tolist() == [1, 11, 111, 1110, 11110 if exact else 11100]  # panes (1, 2] to (3, 4]
    assert fold(both, x, times).tolist() == [1, 11, 111, 1111, 11110 if exact else 11111]  # panes [0, 1) to [3, 4)


@pytest.mark.parametrize("panes", [1, 2, 7, 60, 1000])
def test_panes_are_wrong_by_less_than_one(panes: int) -> None:
    times = MILLISECONDS / 1000
    exact = [fold(MovingSum(value="x", window=w, max_events=999), np.ones(900), times) for w in ("10s", "5s", "15s")]
    pane = 10 / panes
    shorter = fold(MovingSum(value="x", window="10s", panes=panes), np.ones(900), times)
    longer = fold(MovingSum(value="x", window="10s", panes=panes, closed="both"), np.ones(900), times)
    assert (shorter <= exact[0]).all()
    assert (longer >= exact[0]).all()
    if pane <= 5:
        assert (shorter >= exact[1]).all()
        assert (longer <= exact[2]).all()
    assert panes == 1000 or (shorter < exact[0]).any()


@pytest.mark.parametrize("options", [{"panes": 10}, {"max_events": 100}])
def test_no_rounding_puts_a_tenth_of_a_second_on_the_wrong_side(options: Any) -> None:
    tenths = 17_000_000_000 + np.arange(200)
    for shift in (0, 3):
        times = (tenths + shift) / 10
        assert fold(MovingSum(value="x", window="1s", **options), np.ones(200), times)[20:].tolist() == [10.0] * 180
        both = MovingSum(value="x", window="1s", closed="both", **options)
        assert fold(both, np.ones(200), times)[20:].tolist() == [11.0] * 180


@pytest.mark.parametrize("options", [{"panes": 1}, {"max_events": 9}])
def test_times_count_to_the_nearest_microsecond(options: Any) -> None:
    assert 1.001 * 1e6 < 1_001_000
    assert fold(MovingSum(value="x", window="1001ms", **options), [1, 10], [0.0, 1.001]).tolist() == [1, 10]


@pytest.mark.parametrize("options", [{"panes": 10}, {"max_events": 100}])
def test_a_late_event_gets_the_window_as_it_is_by_now(options: Any) -> None:
    driver = Driver(MovingSum(value="x", window="10s", **options), {"value": ()})
    x, times = [1, 10, 100, 1000, 10000, 100000], [100.0, 105.0, 96.0, 95.0, 111.0, 101.0]
    assert driver.fold([0] * 6, {"value": x}, times) == pytest.approx([1, 11, 111, 111, 10010, 10010])
    assert driver.export()["late"] == 2
    assert driver.fold([0], {"value": [7]}, [102.0]) == pytest.approx([10017])
    assert driver.fields["count"].tolist() == [7]
    assert driver.fields["late"].tolist() == [2]


@pytest.mark.parametrize("options", [{"panes": 5}, {"max_events": 400}])
@every_statistic
def test_events_of_any_order_are_the_window_of_their_newest_time(name: str, options: Any) -> None:
    order = np.random.default_rng(1).permutation(400)
    operator = STATISTICS[name](value="x", window="90s", **options)
    times = MILLISECONDS[:400] // 1000
    wanted = fold(operator, X[:400], times)[-1]
    assert fold(operator, X[order], times[order])[-1] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("options", [{"panes": 10}, {"max_events": 100}])
def test_a_time_from_the_far_future_empties_the_window_until_the_others_are_there(options: Any) -> None:
    driver = Driver(MovingMean(value="x", window="10s", **options), {"value": ()})
    got = driver.fold([0] * 4, {"value": [1, 2, 3, 4]}, [0.0, 1e300, 5.0, -1e300])
    assert np.asarray(got).tolist() == [1.0, 2.0, 2.0, 2.0]
    assert driver.fields["late"].tolist() == [2]


@pytest.mark.parametrize("options", [{"panes": 4}, {"max_events": 10}])
def test_times_before_1970_are_times_like_others(options: Any) -> None:
    got = fold(MovingSum(value="x", window="4s", **options), np.ones(9), np.arange(-9.0, 0.0))
    assert got.tolist() == [1, 2, 3, 4, 4, 4, 4, 4, 4]


def test_of_more_events_than_there_is_room_for_the_oldest_to_arrive_leave() -> None:
    operator = MovingSum(value="x", window="1m", max_events=3)
    assert fold(operator, [1, 10, 100, 1000, 10000], np.arange(5.0)).tolist() == [1, 11, 111, 1110, 11100]
    assert fold(operator, [1, 10, 100, 1000], [9.0, 8.0, 7.0, 6.0]).tolist() == [1, 11, 111, 1110]
    assert fold(operator, [1, 10, 100, 1000], [99.0, 1.0, 2.0, 3.0])[:3].tolist() == [1, 1, 1]
    assert math.isnan(fold(operator, [1, 10, 100, 1000], [99.0, 1.0, 2.0, 3.0])[3])  # too late, but it took the room


@pytest.mark.parametrize("options", [{"panes": 7}, {"max_events": 25}])
@every_statistic
def test_random_times_cut_at_random_give_what_one_by_one_gives(name: str, options: Any) -> None:
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.exponential(1.0, 300)) - rng.exponential(4.0, 300) * (rng.random(300) < 0.4)
    x, keys = rng.normal(size=(300, 2)), rng.integers(0, 4, 300)
    operator = STATISTICS[name](value="x", window="8s", **options)
    one_by_one = Driver(operator, {"value": (2,)}, 4).fold_in_batches(keys, {"value": x}, times, range(1, 300))
    for cuts in ([], [150], sorted(rng.integers(0, 300, 20).tolist())):
        got = Driver(operator, {"value": (2,)}, 4).fold_in_batches(keys, {"value": x}, times, cuts)
        np.testing.assert_allclose(np.asarray(got, float), np.asarray(one_by_one, float), rtol=1e-12, atol=1e-14)


# State


def test_the_memory_of_a_window_in_plain_numbers() -> None:
    x, times = [1.0, 2.0, 4.0], [0.0, 11.0, 61.0]
    for operator, wanted in (
        (MovingSum(value="x", window=2), {"count": 3, "window": [2.0, 4.0]}),
        (
            MovingSum(value="x", window="1m", panes=6),
            {
                "count": 3,
                "late": 0,
                "window": [{"since": 10.0, "number": 1, "sum": 2.0}, {"since": 60.0, "number": 1, "sum": 4.0}],
            },
        ),
        (
            MovingVar(value="x", window="1m", panes=2, closed="both"),
            {
                "count": 3,
                "late": 0,
                "window": [
                    {"since": 0.0, "number": 2, "mean": 1.5, "squares": 0.5},
                    {"since": 60.0, "number": 1, "mean": 4.0, "squares": 0.0},
                ],
            },
        ),
        (
            MovingMax(value="x", window="1m", max_events=5),
            {"count": 3, "late": 0, "window": [2.0, 4.0], "times": [11.0, 61.0]},
        ),
        (
            MovingMin(value="x", window="1m", panes=1),
            {"count": 3, "late": 0, "window": [{"since": 60.0, "number": 1, "min": 4.0}]},
        ),
    ):
        driver = Driver(operator, {"value": ()})
        driver.fold([0] * 3, {"value": x}, times)
        assert driver.export() == wanted


def test_before_any_event_there_is_nothing() -> None:
    for options, wanted in (
        ({"window": 3}, {"count": 0, "window": []}),
        ({"window": "3s"}, {"count": 0, "late": 0, "window": []}),
        ({"window": "3s", "max_events": 2}, {"count": 0, "late": 0, "window": [], "times": []}),
    ):
        assert Driver(MovingMean(value="x", **options), {"value": ()}).export() == wanted


@pytest.mark.parametrize("options", [{"panes": 4}, {"max_events": 3}])
def test_merged_windows_have_the_newer_of_their_times(options: Any) -> None:
    operator = MovingSum(value="x", window="8s", **options)
    for first, second in (([1.0, 20.0], [11.0, 16.0]), ([11.0, 16.0], [1.0, 20.0])):
        one, other = Memory(operator), Memory(operator)
        one.fold(["a", "a", "b", "b"], {"x": [1.0, 10.0, 5.0, 6.0]}, [*first, 30.0, 2.0])
        other.fold(["a", "a", "b", "b", "c"], {"x": [100.0, 1000.0, 7.0, 8.0, 9.0]}, [*second, 40.0, 3.0, 3.0])
        one.merge(other)
        assert np.asarray(one.read(["a", "b", "c"])).tolist() == [1010.0, 7.0, 9.0]
        assert [(row["count"], row["late"]) for row in one.export()] == [(4, 0), (4, 2), (1, 0)]


def test_panes_are_as_large_as_they_are_many() -> None:
    for operator, numbers in (
        (MovingMean(value="x", window="1h"), 3 + 60 * 3),
        (MovingMean(value="x", window="1h", panes=10, closed="both"), 3 + 11 * 3),
        (MovingMax(value="x", window="1h", panes=10), 3 + 10 * 2),
        (MovingStd(value="x", window="1h", panes=10), 3 + 10 * 4),
        (MovingMin(value="x", window="1h", max_events=10), 3 + 10 * 2),
        (MovingMin(value="x", window=10), 2 + 10),
        (MovingVar(value="x", window=10), 8 + 10),
    ):
        assert Driver(operator, {"value": ()}).size == 8 * numbers


def test_a_stay_is_cut_into_nodes_of_a_tree_of_any_size() -> None:
    aggregate: Aggregate = MovingSum.aggregate
    shuffle = random.Random(7)
    for events in (1, 2, 3, 6, 13, 64, 100):
        stays = [sorted(shuffle.sample(range(events + 1), 2)) for _ in range(40)]
        begin, end = np.array(stays).T
        x = np.ldexp(1.0, np.arange(40))
        got = aggregate.while_inside(events, begin, end, aggregate.lift(x))
        for i in range(events):
            assert got[1][i] == sum(x[(begin <= i) & (i < end)])


# Options


@pytest.mark.parametrize(
    ("options", "option", "said"),
    [
        ({"window": "5"}, "window", "found '5', expected a duration such as"),
        ({"window": "0s"}, "window", "found '0s', expected a duration above 0"),
        ({"window": "0.0001ms"}, "window", "found '0.0001ms', expected a duration from 0.001ms to 36500d"),
        ({"window": "36501d"}, "window", "found '36501d', expected a duration from 0.001ms to 36500d"),
        ({"window": None}, "window", "found None, expected a whole number of events"),
        (
            {"window": 5, "closed": "both"},
            "closed",
            "found 'both' beside a window of events, expected it beside a duration",
        ),
        ({"window": 5, "panes": 5}, "panes", "found 5 beside a window of events"),
        ({"window": 5, "max_events": 5}, "max_events", "found 5 beside a window of events"),
        ({"window": "5s", "closed": "left"}, "closed", 'found \'left\', expected one of "right", "both"'),
        ({"window": "5s", "panes": 0}, "panes", "found 0, expected a whole number of panes, from 1 to 1000"),
        ({"window": "5s", "panes": 1001}, "panes", "found 1001, expected a whole number of panes, from 1 to 1000"),
        ({"window": "5s", "max_events": 0}, "max_events", "found 0, expected a whole number of events, at least 1"),
        (
            {"window": "5s", "panes": 5, "max_events": 5},
            "max_events",
            "found panes and max_events, expected at most one",
        ),
        ({"window": "5s", "min_count": 0}, "min_count", "found 0, expected a whole number of events, at least 1"),
        (
            {"window": "5s", "max_events": 5, "min_count": 6},
            "min_count",
            "found 6, expected a whole number of events, from 1",
        ),
        ({"window": 5, "ddof": -1}, "ddof", "found -1, expected a whole number of degrees of freedom, at least 0"),
    ],
)
def test_a_wrong_option_is_named(options: Any, option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        MovingStd(value="x", **options)
    assert caught.value.option == option
    assert said in str(caught.value)


def test_the_longest_window_in_the_most_panes_keeps_times_apart() -> None:
    operator = MovingSum(value="x", window="36500d", panes=1000)
    day = 86_400.0
    got = fold(operator, [1, 10, 100, 1000], [0.0, 36.5 * day, 999 * 36.5 * day, 36500 * day])
    assert got.tolist() == [1, 11, 111, 1110]


def test_a_weighted_mean_is_what_numpy_convolves() -> None:
    weights = RNG.uniform(0.1, 1.0, 12)
    wanted = np.convolve(X, weights[::-1] / weights.sum(), "valid")
    driver = Driver(WeightedMovingMean(value="x", weights=weights.tolist(), min_count=12), {"value": ()})
    got = np.asarray(driver.fold_in_batches(np.zeros(900, int), {"value": X}, np.zeros(900), CUTS[1:-1]), float)
    assert np.isnan(got[:11]).all()
    np.testing.assert_allclose(got[11:], wanted, atol=1e-14)


def test_where_the_weights_of_the_newest_sum_to_0_there_is_no_mean() -> None:
    operator = WeightedMovingMean(value="x", weights=[1.0, 0.3, -0.1, -0.2])
    np.testing.assert_allclose(fold(operator, [1, 2, 3, 4], range(4)), [1.0, 5 / 3, np.nan, 0.5], rtol=1e-12)


def test_a_pane_shows_its_sum_with_all_its_digits() -> None:
    memory = Memory(MovingSum(value="x", window="10s", panes=2))
    memory.fold(["a"] * 3, {"x": [1e16, 1.0, 1.0]}, [1.0, 1.0, 1.0])
    (state,) = memory.export()
    assert [pane["sum"] for pane in state["window"]] == [1e16 + 2.0]  # type: ignore[attr-defined]
