"""Means of key-value pairs and attention over windows of them: worked numbers, options, and other ways to the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from operators import (
    Fifo,
    Infini,
    KvEwma,
    KvMean,
    KvMovingMean,
    KvWeightedMovingMean,
    KvWindow,
    LinearAttention,
    Memory,
    Operator,
    OperatorError,
)
from operators.columns.grouping import Floats
from tests.operators.driver import Driver, parts

KV: dict[str, Any] = {"key": "k", "value": "v"}
RNG = np.random.default_rng(30)
KEYS, VALUES = RNG.normal(size=(500, 3)), RNG.normal(size=(500, 2))
SECONDS = np.cumsum(RNG.integers(1, 50, 500)).astype(float)


def fold(operator: Operator, keys: Any, values: Any, times: Any = None, cuts: Any = ()) -> tuple[Driver, Any]:
    """Fold all pairs of one key; the driver and every event's result."""
    columns = {"key": np.asarray(keys, float), "value": np.asarray(values, float)}
    driver = Driver(operator, {role: column.shape[1:] for role, column in columns.items()})
    when = np.arange(float(len(keys))) if times is None else times
    return driver, driver.fold_in_batches(np.zeros(len(keys), int), columns, when, cuts)


# Means


def test_a_window_of_3_pairs() -> None:
    operator = KvMovingMean(**KV, window=3)
    driver, result = fold(operator, [[1, 2], [3, 4], [5, 6], [7, 8]], [[10, 11], [12, 13], [14, 15], [16, 17]])
    assert result["key"][-1].tolist() == [5, 6]
    assert result["value"][-1].tolist() == [14, 15]
    assert result["score"][-1] == pytest.approx((7 * 5 + 8 * 6) / math.sqrt(2), rel=1e-15)
    assert driver.export() == {"count": 4, "key": [[3, 4], [5, 6], [7, 8]], "value": [[12, 13], [14, 15], [16, 17]]}


def test_weights_from_the_oldest_pair_to_the_newest() -> None:
    operator = KvWeightedMovingMean(**KV, weights=[0.1, 0.3, 0.6])
    driver, result = fold(operator, [[2, 4], [1, 3], [5, 0]], [[20], [10], [50]])
    assert result["key"][0].tolist() == [2, 4]  # the window need not be full, unless min_count says so
    assert result["key"][-1].tolist() == pytest.approx([3.5, 1.3], rel=1e-15)
    assert result["value"][-1].tolist() == pytest.approx([35], rel=1e-15)
    assert driver.export() == {"count": 3, "key": [[2, 4], [1, 3], [5, 0]], "value": [[20], [10], [50]]}


def test_half_of_what_a_pair_weighs_is_left_after_a_half_life() -> None:
    operator = KvEwma(**KV, half_life="10s")
    driver, result = fold(operator, [[1.0], [4.0]], [[2.0], [8.0]], [100.0, 110.0])
    assert result["key"][-1, 0] == pytest.approx((0.5 * 1 + 4) / 1.5, rel=1e-15)
    assert result["value"][-1, 0] == pytest.approx((0.5 * 2 + 8) / 1.5, rel=1e-15)
    assert result["score"][-1] == pytest.approx(4 * 3, rel=1e-15)
    assert driver.export() == {"count": 2, "weight": 1.5, "time": 110.0, "key": [3.0], "value": [6.0]}


def test_a_pair_that_comes_late_has_the_weight_of_its_time() -> None:
    operator = KvEwma(**KV, half_life="100s")
    order = np.random.default_rng(31).permutation(500)
    in_order, _ = fold(operator, KEYS, VALUES, SECONDS)
    shuffled, _ = fold(operator, KEYS[order], VALUES[order], SECONDS[order])
    for name in ("key", "value"):
        one, other = (parts(driver.read())[name] for driver in (in_order, shuffled))
        np.testing.assert_allclose(other, one, atol=1e-14)


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        (KvMean(**KV), lambda pairs: pairs.expanding().mean()),
        (KvMovingMean(**KV, window=30), lambda pairs: pairs.rolling(30, min_periods=1).mean()),
        (KvMovingMean(**KV, window=30, min_count=30), lambda pairs: pairs.rolling(30).mean()),
        (KvEwma(**KV, alpha=0.07), lambda pairs: pairs.ewm(alpha=0.07).mean()),
        (KvEwma(**KV, span=25.0, adjust=False), lambda pairs: pairs.ewm(span=25, adjust=False).mean()),
        (
            KvEwma(**KV, half_life="45s"),
            lambda pairs: pairs.ewm(halflife=pd.Timedelta("45s"), times=pd.to_datetime(SECONDS, unit="s")).mean(),
        ),
    ],
    ids=["mean", "moving", "moving-full", "alpha", "span", "time"],
)
def test_pandas_gives_the_same_means(operator: Operator, wanted: Callable[[Any], Any]) -> None:
    _, result = fold(operator, KEYS, VALUES, SECONDS, [1, 2, 40, 300])
    key, value = wanted(pd.DataFrame(KEYS)).to_numpy(), wanted(pd.DataFrame(VALUES)).to_numpy()
    np.testing.assert_allclose(result["key"], key, atol=1e-13)
    np.testing.assert_allclose(result["value"], value, atol=1e-13)
    np.testing.assert_allclose(result["score"], (KEYS * key).sum(axis=1) / math.sqrt(3), atol=1e-13)


def test_every_half_life_has_means_and_a_score_of_its_own() -> None:
    _, result = fold(KvEwma(**KV, heads=["10s", "5m"]), KEYS, VALUES, SECONDS)
    for head, half_life in enumerate(("10s", "5m")):
        _, one = fold(KvEwma(**KV, half_life=half_life), KEYS, VALUES, SECONDS)
        for name, part in one.items():
            np.testing.assert_allclose(result[name][:, head], part, atol=1e-14)


def test_a_span_of_time_is_a_window_too() -> None:
    operator = KvMovingMean(**KV, window="10s", max_events=100)
    driver, result = fold(operator, [[1.0], [2.0], [6.0]], [[10.0], [20.0], [60.0]], [0.0, 6.0, 12.0])
    assert result["key"].tolist() == [[1.0], [1.5], [4.0]]
    assert result["value"].tolist() == [[10.0], [15.0], [40.0]]
    exported = {"count": 3, "late": 0, "times": [6.0, 12.0], "key": [[2.0], [6.0]], "value": [[20.0], [60.0]]}
    assert driver.export() == exported


def test_the_score_falls_when_the_keys_drift_away() -> None:
    keys = np.repeat([[1.0, 0.0], [0.0, 1.0]], 50, axis=0)
    _, result = fold(KvEwma(**KV, alpha=0.2), keys, np.zeros((100, 1)))
    assert result["score"][49] == pytest.approx(1 / math.sqrt(2), rel=1e-12)
    assert result["score"][50] == pytest.approx(0.2 / math.sqrt(2), rel=1e-4)
    assert (np.diff(result["score"][50:]) > 0).all()


def test_both_ways_to_write_a_half_life_are_one_operator() -> None:
    assert KvEwma(**KV, half_life="1m") == KvEwma(**KV, half_life=60.0)
    assert KvWeightedMovingMean(**KV, weights=[1, 2]) == KvWeightedMovingMean(**KV, weights=(1.0, 2.0))


# Sinks


def softmax_of(query: Floats, keys: Any, values: Any) -> Floats:
    """Attention by hand."""
    scores = np.asarray(keys, float) @ query / math.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    result: Floats = weights @ np.asarray(values, float) / weights.sum()
    return result


def test_the_first_pairs_stay() -> None:
    driver, result = fold(KvWindow(**KV, window=3, sinks=2), KEYS, VALUES, cuts=[1, 4, 100])
    held = [0, 1, 497, 498, 499]
    np.testing.assert_allclose(result[-1], softmax_of(KEYS[-1], KEYS[held], VALUES[held]), rtol=1e-13)
    assert driver.export() == {"count": 500, "keys": KEYS[held].tolist(), "values": VALUES[held].tolist()}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
def test_a_pair_that_is_pinned_and_in_the_window_counts_once(n: int) -> None:
    driver, result = fold(KvWindow(**KV, window=4, sinks=3), KEYS[:n], VALUES[:n])
    np.testing.assert_allclose(result[-1], softmax_of(KEYS[n - 1], KEYS[:n], VALUES[:n]), rtol=1e-13)
    assert driver.export() == {"count": n, "keys": KEYS[:n].tolist(), "values": VALUES[:n].tolist()}


def test_an_early_memory_keeps_its_first_pairs_when_a_later_one_is_merged() -> None:
    operator = KvWindow(**KV, window=3, sinks=4)
    early, late = (Memory(operator, {"k": 3, "v": 2}) for _ in range(2))
    early.fold(["a"] * 2, {"k": KEYS[:2], "v": VALUES[:2]})
    late.fold(["a"] * 98, {"k": KEYS[2:100], "v": VALUES[2:100]})
    early.merge(late)
    assert early.export(["a"])[0]["keys"] == KEYS[[0, 1, 2, 3, 97, 98, 99]].tolist()


# Two levels


def test_what_leaves_the_newest_pairs_leaves_as_segments() -> None:
    operator = Fifo(key="k", value="v", window=2, segment=3, compressed=2)
    held = []
    for n in range(1, 12):
        driver, _ = fold(operator, np.arange(1.0, n + 1)[:, None], -np.arange(1.0, n + 1)[:, None])
        export = driver.export()
        assert export["values"] == [[-k] for (k,) in export["keys"]]
        assert export["compressed_values"] == [[-k] for (k,) in export["compressed_keys"]]
        held.append(([k for (k,) in export["compressed_keys"]], [k for (k,) in export["keys"]]))
    assert held == [
        ([], [1]),
        ([], [1, 2]),
        ([], [1, 2, 3]),
        ([], [1, 2, 3, 4]),
        ([2], [4, 5]),
        ([2], [4, 5, 6]),
        ([2], [4, 5, 6, 7]),
        ([2, 5], [7, 8]),
        ([2, 5], [7, 8, 9]),
        ([2, 5], [7, 8, 9, 10]),
        ([5, 8], [10, 11]),
    ]


def test_one_softmax_over_both_levels() -> None:
    operator = Fifo(key="k", value="v", window=4, segment=5, compressed=6)
    _, result = fold(operator, KEYS[:47], VALUES[:47], cuts=[3, 20, 21])
    # After 47 pairs 8 segments have left, of which the newest 6 are kept: the pairs 10 to 39.
    keys, values = (part[10:40].reshape(6, 5, -1).mean(axis=1) for part in (KEYS, VALUES))
    rows = np.concatenate([keys, KEYS[40:47]]), np.concatenate([values, VALUES[40:47]])
    np.testing.assert_allclose(result[-1], softmax_of(KEYS[46], *rows), rtol=1e-13)


def test_the_mean_of_the_greatest_numbers_does_not_overflow() -> None:
    operator = Fifo(key="k", value="v", window=1, segment=4, compressed=2)
    _, result = fold(operator, np.zeros((9, 1)), np.full((9, 1), 1.7e308), cuts=[3])
    np.testing.assert_allclose(result, np.full((9, 1), 1.7e308), rtol=1e-15)


def test_a_segment_may_be_longer_than_a_batch() -> None:
    operator = Fifo(key="k", value="v", window=3, segment=50, compressed=2)
    _, at_once = fold(operator, KEYS, VALUES)
    _, one_by_one = fold(operator, KEYS, VALUES, cuts=range(1, 500))
    np.testing.assert_allclose(one_by_one, at_once, rtol=1e-12)


def test_runs_of_different_lengths_that_end_no_segment() -> None:
    driver = Driver(Fifo(**KV, window=1, segment=5, compressed=2), {"key": (3,), "value": (2,)}, keys=2)
    who = np.array([0] * 2 + [1] * 6 + [0] * 3 + [1] * 4)
    # With one event more the first key would end a segment; the second one, which has that many, ends none.
    result = driver.fold_in_batches(who, {"key": KEYS[:15], "value": VALUES[:15]}, np.arange(15.0), [8])
    np.testing.assert_allclose(
        parts(result)[""][10], softmax_of(KEYS[10], KEYS[[0, 1, 8, 9, 10]], VALUES[[0, 1, 8, 9, 10]])
    )


# A window and what has left it


def test_the_window_and_the_rest_share_by_the_gate() -> None:
    # Keys of 0 are all alike, so both attentions are means.
    _, result = fold(Infini(**KV, window=2, gate=0.25), np.zeros((5, 1)), [[1.0], [2.0], [4.0], [8.0], [16.0]])
    means = [1.0, 1.5, 0.25 * 1 + 0.75 * 3, 0.25 * 1.5 + 0.75 * 6, 0.25 * 7 / 3 + 0.75 * 12]
    assert result[:, 0].tolist() == pytest.approx(means, rel=1e-14)


def test_at_the_end_of_a_segment_it_is_infini_attention() -> None:
    n, length, gate = 60, 12, 0.3
    _, result = fold(Infini(**KV, window=length, gate=gate), KEYS[:n], VALUES[:n], cuts=[7, 30])
    memory, norm = np.zeros((3, 2)), np.zeros(3)
    for end in range(length, n + 1, length):
        segment = slice(end - length, end)
        query = KEYS[end - 1]
        feature = np.where(query > 0, query + 1, np.exp(query))
        wanted = softmax_of(query, KEYS[segment], VALUES[segment])
        if end > length:
            wanted = gate * (feature @ memory) / (feature @ norm) + (1 - gate) * wanted
        np.testing.assert_allclose(result[end - 1], wanted, rtol=1e-13)
        features = np.where(KEYS[segment] > 0, KEYS[segment] + 1, np.exp(KEYS[segment]))
        memory, norm = memory + features.T @ VALUES[segment], norm + features.sum(axis=0)


def test_until_a_pair_leaves_the_window_it_is_attention_over_the_window() -> None:
    for readout in ("after", "before"):
        options: dict[str, Any] = {**KV, "window": 20, "readout": readout}
        one, other = (fold(kind(**options), KEYS[:20], VALUES[:20])[1] for kind in (Infini, KvWindow))
        for name, part in parts(other).items():
            np.testing.assert_array_equal(parts(one)[name], part)


def test_what_has_left_the_window_is_what_linear_attention_sums_up() -> None:
    driver, _ = fold(Infini(**KV, window=30), KEYS, VALUES, cuts=[10, 100])
    older, _ = fold(LinearAttention(**KV), KEYS[:470], VALUES[:470])
    export, sums = driver.export(), older.export()
    assert export["keys"] == KEYS[470:].tolist()
    assert export["values"] == VALUES[470:].tolist()
    np.testing.assert_allclose(export["mu"], sums["mu"], atol=1e-12)
    np.testing.assert_allclose(export["nu"], sums["nu"], rtol=1e-14)


def test_older_pairs_without_weight_leave_no_result() -> None:
    operator = Infini(**KV, window=1, feature_map="relu")
    driver, result = fold(operator, [[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0]], [[3.0], [5.0], [7.0]])
    assert result[0].tolist() == [3.0]
    assert np.isnan(result[1]).all()
    assert result[2].tolist() == [0.5 * 5 + 0.5 * 7]
    assert parts(driver.read([[1.0, -1.0]]))[""].tolist() == [[0.5 * 3 + 0.5 * 7]]


# Merging


@pytest.mark.parametrize(
    "operator",
    [
        KvMean(**KV),
        KvMovingMean(**KV, window=9),
        KvEwma(**KV, alpha=0.1),
        KvWindow(**KV, window=9, sinks=1),
        Infini(**KV, window=9),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_after_a_merge_the_newest_query_is_the_later_one(operator: Operator) -> None:
    early, late, nothing = (Memory(operator, {"k": 3, "v": 2}) for _ in range(3))
    early.fold(["a"] * 20, {"k": KEYS[:20], "v": VALUES[:20]})
    late.fold(["a"] * 30, {"k": KEYS[20:50], "v": VALUES[20:50]})
    nothing.fold([], {"k": KEYS[:0], "v": VALUES[:0]})
    early.merge(late)
    early.merge(nothing)
    for name, part in parts(early.read(["a"], KEYS[49])).items():
        np.testing.assert_array_equal(parts(early.read(["a"]))[name], part)


@pytest.mark.parametrize("kind", [KvWindow, Infini])
def test_after_a_merge_the_newest_prediction_is_the_later_one(kind: Callable[..., Operator]) -> None:
    early, late = (Memory(kind(**KV, window=9, readout="before"), {"k": 3, "v": 2}) for _ in range(2))
    early.fold(["a"] * 20, {"k": KEYS[:20], "v": VALUES[:20]})
    result = late.fold(["a"] * 30, {"k": KEYS[20:50], "v": VALUES[20:50]})
    early.merge(late)
    for name, part in parts(early.read(["a"])).items():
        np.testing.assert_array_equal(part[0], parts(result)[name][-1])


# Sizes and options


@pytest.mark.parametrize(
    ("operator", "numbers"),
    [
        (KvMean(**KV), lambda d_k, d_v: 1 + 3 * d_k + 2 * d_v),
        (KvWeightedMovingMean(**KV, weights=[1, 2, 3]), lambda d_k, d_v: 1 + 4 * d_k + 3 * d_v),
        (KvMovingMean(**KV, window=7), lambda d_k, d_v: 1 + (7 + 4) * d_k + (7 + 3) * d_v),
        (KvMovingMean(**KV, window="1m", panes=9), lambda d_k, d_v: 3 + 9 + 19 * d_k + 18 * d_v),
        (KvMovingMean(**KV, window="1m", max_events=9), lambda d_k, d_v: 3 + 9 + 10 * d_k + 9 * d_v),
        (KvEwma(**KV, alpha=0.5), lambda d_k, d_v: 4 + 3 * d_k + 2 * d_v),
        (KvEwma(**KV, alpha=0.5, adjust=False), lambda d_k, d_v: 4 + 4 * d_k + 3 * d_v),
        (KvEwma(**KV, heads=[1.0, 2.0]), lambda d_k, d_v: 1 + 6 + 5 * d_k + 4 * d_v),
        (KvWindow(**KV, window=7), lambda d_k, d_v: 1 + 7 * (d_k + d_v) + d_k),
        (
            KvWindow(**KV, window=7, sinks=2, readout="before"),
            lambda d_k, d_v: 1 + 9 * (d_k + d_v) + d_k + 1 + 2 * d_v,
        ),
        (Fifo(**KV, window=7, segment=4, compressed=5), lambda d_k, d_v: 1 + (7 + 3 + 5) * (d_k + d_v) + d_k),
        (Infini(**KV, window=7), lambda d_k, d_v: 1 + 7 * (d_k + d_v) + 2 * d_k * (d_v + 1) + d_k),
    ],
    ids=lambda of: type(of).__name__ if isinstance(of, Operator) else "",
)
def test_the_state_has_the_numbers_that_its_page_says(operator: Operator, numbers: Callable[[int, int], int]) -> None:
    for d_k, d_v in ((1, 1), (3, 5), (4, 2)):
        layout = operator.layout({"key": (d_k,), "value": (d_v,)})
        fields = sum(math.prod(field.shape) for field in layout.fields)
        assert fields + sum(ring.length * math.prod(ring.shape) for ring in layout.rings) == numbers(d_k, d_v)


@pytest.mark.parametrize(
    ("make", "options", "option", "said"),
    [
        (KvMovingMean, {"window": 0}, "window", "found 0, expected"),
        (KvMovingMean, {"window": 3, "min_count": 4}, "min_count", "found 4, expected"),
        (KvMovingMean, {"window": 3, "closed": "both"}, "closed", "beside a window of events"),
        (KvMovingMean, {"window": "3s", "panes": 2, "max_events": 2}, "max_events", "at most one of them"),
        (KvWeightedMovingMean, {"weights": [1, -1]}, "weights", "which sum to 0"),
        (KvEwma, {}, "alpha", "expected exactly one of alpha, half_life, span, heads"),
        (KvEwma, {"half_life": "1 week"}, "half_life", "found '1 week', expected a duration"),
        (KvEwma, {"alpha": 0.5, "adjust": 1}, "adjust", "found 1, expected true or false"),
        (KvWindow, {"window": 3, "sinks": -1}, "sinks", "found -1, expected a whole number of events, at least 0"),
        (KvWindow, {"window": 3, "sinks": True}, "sinks", "found True, expected a whole number"),
        (Fifo, {"window": 0, "segment": 1, "compressed": 1}, "window", "of events, at least 1"),
        (Fifo, {"window": 1, "segment": 0, "compressed": 1}, "segment", "of events, at least 1"),
        (Fifo, {"window": 1, "segment": 1, "compressed": 0}, "compressed", "of rows, at least 1"),
        (Infini, {"window": "5m"}, "window", "found '5m', expected a whole number of events"),
        (Infini, {"window": 5, "gate": 0}, "gate", "found 0, expected a number between 0 and 1"),
        (Infini, {"window": 5, "gate": 1.0}, "gate", "found 1.0, expected a number between 0 and 1"),
        (Infini, {"window": 5, "gate": "half"}, "gate", "found 'half', expected a number between 0 and 1"),
        (Infini, {"window": 5, "feature_map": "elu"}, "feature_map", "elu1"),
        (Infini, {"window": 5, "readout": "now"}, "readout", 'expected one of "after", "before"'),
    ],
)
def test_a_wrong_option_is_named(make: Callable[..., Any], options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        make(**KV, **options)
    assert caught.value.option == option
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "operator",
    [
        KvMovingMean(**KV, window=3),
        KvEwma(**KV, alpha=0.5),
        KvWindow(**KV, window=3, sinks=1),
        Fifo(**KV, window=1, segment=1, compressed=1),
        Infini(**KV, window=3),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_a_number_is_no_pair(operator: Operator) -> None:
    for shapes, option in (({"key": (), "value": (1,)}, "key"), ({"key": (1,), "value": ()}, "value")):
        with pytest.raises(OperatorError, match="expected the name of a vector field") as caught:
            operator.layout(shapes)
        assert caught.value.option == option
