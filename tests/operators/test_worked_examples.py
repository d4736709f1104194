"""The worked numbers of the formulas, by the names they have there."""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Mapping, Sized
from statistics import median
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pytest

from operators import Ewma, Fifo, KvMean, KvWindow, LinearAttention, Mean, MovingMean, Operator, WeightedMovingMean
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


def test_a3_a_million_and_one_tenths() -> None:
    driver = Driver(Mean(value="x"), NUMBER)
    for _ in range(10):
        driver.fold([0] * 100_000, {"value": np.full(100_000, 0.1)}, each=False)
    assert driver.fold([0], {"value": [0.1]}) == pytest.approx(0.1, rel=1e-15)


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


CONSTANT = pytest.mark.parametrize(
    "operator",
    [KvMean(key="k", value="v"), KvWindow(key="k", value="v", window=256), linear_attention()],
    ids=lambda operator: type(operator).__name__,
)


def fold_ones(driver: Driver, events: int) -> None:
    """Fold so many events of key 0, all of their numbers 1."""
    for done in range(0, events, 10_000):
        new = min(10_000, events - done)
        driver.fold([0] * new, {"key": np.ones((new, 2)), "value": np.ones((new, 2))}, each=False)


@CONSTANT
def test_a7_a_million_events_serialise_to_as_many_bytes_as_one(operator: Operator) -> None:
    driver, _ = run(operator, {"key": KEYS[:1], "value": VALUES[:1]})
    size = len(driver.memory.to_bytes())
    fold_ones(driver, 1_000_000)
    assert driver.fields["count"].tolist() == [1_000_001]
    assert len(driver.memory.to_bytes()) == size


@CONSTANT
def test_a8_no_list_of_past_inputs_can_be_reached_from_the_state(operator: Operator) -> None:
    events = 100_000
    driver = Driver(operator, {"key": (2,), "value": (2,)})
    fold_ones(driver, events)
    seen: dict[int, Any] = {}
    found: list[Any] = [driver.memory]
    while found:
        thing = found.pop()
        if id(thing) not in seen and not isinstance(thing, (type, ModuleType, FunctionType, MethodType)):
            seen[id(thing)] = thing
            found += gc.get_referents(thing)
    arrays = [thing for thing in seen.values() if isinstance(thing, np.ndarray)]
    assert arrays
    assert max(array.size for array in arrays) < events
    assert (
        max(len(thing) for thing in seen.values() if isinstance(thing, Sized) and not isinstance(thing, np.ndarray))
        < events
    )


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


@CONSTANT
def test_a19_an_update_costs_as_much_after_a_million_events_as_after_a_thousand(operator: Operator) -> None:
    drivers = {count: Driver(operator, {"key": (2,), "value": (2,)}) for count in (1_000, 1_000_000)}
    seconds: dict[int, list[float]] = {count: [] for count in drivers}
    for count, driver in drivers.items():
        fold_ones(driver, count)
    assert len({driver.nbytes for driver in drivers.values()}) == 1
    for _ in range(30):
        for count, driver in drivers.items():
            begin = time.process_time()
            fold_ones(driver, 1_000)
            seconds[count].append(time.process_time() - begin)
    assert median(seconds[1_000_000]) < 2 * median(seconds[1_000])


def test_a20_first_in_first_out() -> None:
    letters = {"A": 1.0, "B": 2.0, "C": 3.0, "D": 4.0}
    operator = Fifo(key="k", value="v", window=3, segment=1, compressed=4)
    pairs = [[letter] for letter in letters.values()]
    driver, _ = run(operator, {"key": pairs[:3], "value": pairs[:3]})
    assert driver.export()["keys"] == [[letters["A"]], [letters["B"]], [letters["C"]]]
    driver.fold([0], {"key": pairs[3:], "value": pairs[3:]})
    assert driver.export()["keys"] == driver.export()["values"] == [[letters["B"]], [letters["C"]], [letters["D"]]]


def test_a20_the_compressed_memory_is_a_fifo_too() -> None:
    operator = Fifo(key="k", value="v", window=1, segment=2, compressed=4)
    means = np.arange(1.0, 7.0)  # M1 to M4, N1 and N2, each the mean of two pairs
    pairs = np.stack([means - 0.25, means + 0.25], axis=1).reshape(-1, 1)
    driver, _ = run(operator, {"key": pairs[:9], "value": pairs[:9]})
    assert driver.export()["compressed_keys"] == [[1.0], [2.0], [3.0], [4.0]]
    last = np.append(pairs[9:], [[0.0]], axis=0)
    driver.fold([0] * len(last), {"key": last, "value": last})
    assert driver.export()["compressed_keys"] == driver.export()["compressed_values"] == [[3.0], [4.0], [5.0], [6.0]]


def test_every_worked_number_has_its_test() -> None:
    named = {int(match[1]) for name in globals() if (match := re.match(r"test_a(\d+)_", name))}
    assert named == set(range(1, 21))
