"""The worked numbers of the formulas, by the names they have there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from operators import Ewma, KvMean, KvWindow, LinearAttention, Mean, MovingMean, Operator, WeightedMovingMean
from operators.operator import Readout, Shape
from tests.operators.driver import Driver, parts

NUMBER: Mapping[str, Shape] = {"value": ()}
KEYS = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]
VALUES = [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]


def run(operator: Operator, columns: Mapping[str, Any]) -> tuple[Driver, Any]:
    """Fold all events of one key at once; the driver and every event's result."""
    inputs = {role: np.asarray(column, float) for role, column in columns.items()}
    driver = Driver(operator, {role: column.shape[1:] for role, column in inputs.items()})
    result: Readout | None = driver.fold([0] * len(next(iter(inputs.values()))), inputs)
    assert result is not None
    return driver, result


def linear_attention() -> LinearAttention:
    return LinearAttention(key="k", value="v", feature_map="identity")


def test_a1_recursion_and_closed_form_agree() -> None:
    rng = np.random.default_rng(0)
    keys, values = rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
    _, result = run(KvMean(key="k", value="v"), {"key": keys, "value": values})
    key, value = keys[0], values[0]
    for i in range(200):
        key, value = (keys[i] + i * key) / (i + 1), (values[i] + i * value) / (i + 1)
        np.testing.assert_allclose(result["key"][i], key, atol=1e-13)
        np.testing.assert_allclose(result["key"][i], keys[: i + 1].mean(axis=0), atol=1e-13)
        np.testing.assert_allclose(result["value"][i], value, atol=1e-13)


def test_a2_after_the_first_event_the_memory_is_the_event() -> None:
    driver, _ = run(KvMean(key="k", value="v"), {"key": [[0.1, 0.7]], "value": [[0.3]]})
    assert driver.export() == {"count": 1, "key": [0.1, 0.7], "value": [0.3]}


def test_a3_the_1_000_001st_score() -> None:
    driver = Driver(Mean(value="x"), NUMBER)
    rng = np.random.default_rng(1)
    half = rng.integers(0, 3000, 500_000).astype(float)
    for scores in np.split(np.concatenate([half, 3000.0 - half]), 50):
        driver.fold([0] * len(scores), {"value": scores}, each=False)
    assert driver.read() == 1500.0
    assert driver.fold([0], {"value": [2500.0]}) == 1500.000999999000001


def test_a4_every_one_of_100_events_weighs_a_hundredth() -> None:
    driver, _ = run(KvMean(key="k", value="v"), {"key": np.eye(100), "value": np.ones((100, 1))})
    assert parts(driver.read())["key"].tolist() == [[0.01] * 100]


def test_a5_the_same_prefix_gives_the_same_state() -> None:
    driver, _ = run(linear_attention(), {"key": KEYS[:2], "value": VALUES[:2]})
    again, _ = run(linear_attention(), {"key": KEYS[:2], "value": VALUES[:2]})
    for name, array in driver.fields.items():
        np.testing.assert_array_equal(again.fields[name], array)


def test_a6_summing_up_and_updating_agree_at_the_10_000th_step() -> None:
    x = np.random.default_rng(2).uniform(0, 100, 10_000)
    driver = Driver(Mean(value="x"), NUMBER)
    driver.fold([0] * 9_999, {"value": x[:-1]})
    before = float(parts(driver.read())[""][0])
    after = driver.fold([0], {"value": x[-1:]})
    assert after == pytest.approx(math.fsum(x) / 10_000, rel=1e-15)
    assert after == pytest.approx((x[-1] + 9_999 * before) / 10_000, rel=1e-12)


@pytest.mark.parametrize(
    "operator",
    [KvMean(key="k", value="v"), KvWindow(key="k", value="v", window=256), linear_attention()],
    ids=lambda operator: type(operator).__name__,
)
def test_a7_a8_a19_the_state_is_as_large_after_a_million_events_as_after_one(operator: Operator) -> None:
    driver, _ = run(operator, {"key": KEYS[:1], "value": VALUES[:1]})
    size = driver.nbytes
    for _ in range(10):
        columns = {"key": np.ones((100_000, 2)), "value": np.ones((100_000, 2))}
        driver.fold([0] * 100_000, columns, each=False)
    assert driver.fields["count"].tolist() == [1_000_001]
    assert driver.nbytes == size
    assert driver.nbytes <= 8 * (256 * 4 + 16)


def test_a9_moving_one_of_n_inputs_by_1_moves_the_mean_by_1_nth() -> None:
    x = np.arange(8.0)
    _, one = run(Mean(value="x"), {"value": x})
    _, other = run(Mean(value="x"), {"value": x + (np.arange(8) == 3)})
    assert (other - one).tolist() == pytest.approx([0, 0, 0, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8], abs=1e-15)


def test_a10_an_outlier_after_a_million_events() -> None:
    driver = Driver(Mean(value="x"), NUMBER)
    driver.fold([0] * 1_000_000, {"value": np.full(1_000_000, 3.0)}, each=False)
    assert driver.fold([0], {"value": [1e9]}) == pytest.approx(3.0 + (1e9 - 3.0) / 1_000_001, rel=1e-15)


def test_a11_the_influence_of_an_event_on_an_ewma_falls_with_its_age() -> None:
    impulse = np.zeros(40)
    impulse[1] = 1.0
    _, result = run(Ewma(value="x", alpha=0.25, adjust=False), {"value": impulse})
    assert result[1:].tolist() == pytest.approx([0.25 * 0.75**age for age in range(39)], rel=1e-13)
    assert (np.diff(result[1:]) < 0).all()


def test_a12_a_batch_is_as_its_events_one_by_one() -> None:
    _, together = run(linear_attention(), {"key": KEYS, "value": VALUES})
    driver = Driver(linear_attention(), {"key": (2,), "value": (2,)})
    for i in range(3):
        one = driver.fold([0], {"key": KEYS[i : i + 1], "value": VALUES[i : i + 1]})
        np.testing.assert_array_equal(parts(one)[""][0], together[i])  # type: ignore[arg-type]


def test_a13_an_update_reads_the_memory_before_it() -> None:
    operator = KvWindow(key="k", value="v", window=3, readout="before")
    _, result = run(operator, {"key": [[0.0]] * 3, "value": [[2.0], [4.0], [9.0]]})
    assert np.isnan(result["value"][0, 0])
    assert result["value"][1:].tolist() == [[2.0], [3.0]]
    assert result["error"][1:].tolist() == [[2.0], [6.0]]


def test_a14_the_257th_event_evicts_the_first() -> None:
    operator = KvWindow(key="k", value="v", window=256)
    keys, values = np.arange(257.0)[:, None], -np.arange(257.0)[:, None]
    driver, _ = run(operator, {"key": keys[:256], "value": values[:256]})
    assert driver.export()["keys"][0] == [0.0]
    driver.fold([0], {"key": keys[256:], "value": values[256:]})
    assert driver.export() == {"count": 257, "keys": keys[1:].tolist(), "values": values[1:].tolist()}


def test_a15_a_window_of_3_over_vectors() -> None:
    _, keys = run(MovingMean(value="k", window=3), {"value": [[1, 2], [3, 4], [5, 6], [7, 8]]})
    _, values = run(MovingMean(value="v", window=3), {"value": [[10, 11], [12, 13], [14, 15], [16, 17]]})
    assert keys[-1].tolist() == [5, 6]
    assert values[-1].tolist() == [14, 15]


def test_a16_weights_from_the_oldest_to_the_newest() -> None:
    operator = WeightedMovingMean(value="k", weights=[0.1, 0.3, 0.6])
    _, result = run(operator, {"value": [[2, 4], [1, 3], [5, 0]]})
    assert result[-1].tolist() == pytest.approx([3.5, 1.3], rel=1e-15)
    _, tenth = run(WeightedMovingMean(value="k", weights=[1, 2, 3, 4]), {"value": np.arange(1.0, 11.0)})
    assert tenth[-1] == (1 * 7 + 2 * 8 + 3 * 9 + 4 * 10) / 10


def test_a17_mu_and_nu() -> None:
    driver = Driver(linear_attention(), {"key": (2,), "value": (2,)})
    states = []
    for i in range(3):
        driver.fold([0], {"key": KEYS[i : i + 1], "value": VALUES[i : i + 1]})
        states.append(driver.export())
    assert states == [
        {"mu": [[3, 4], [0, 0]], "nu": [1, 0]},
        {"mu": [[3, 4], [10, 12]], "nu": [1, 2]},
        {"mu": [[10, 12], [17, 20]], "nu": [2, 3]},
    ]


def test_a18_read_with_a_query() -> None:
    driver, _ = run(linear_attention(), {"key": KEYS, "value": VALUES})
    for query, value in ([1, 1], [5.4, 6.4]), ([1, 0], [5, 6]), ([0, 1], [17 / 3, 20 / 3]):
        assert parts(driver.read([query]))[""][0].tolist() == pytest.approx(value, rel=1e-15)
    first, _ = run(linear_attention(), {"key": KEYS[:1], "value": VALUES[:1]})
    assert np.isnan(parts(first.read([[0, 1]]))[""]).all()
