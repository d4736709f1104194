"""Linear attention: its feature maps, and pairs that weigh by their age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from operators import LinearAttention, OperatorError
from operators.columns.grouping import Floats
from operators.matrices.feature_maps import FEATURE_MAPS, dpfp, favor
from tests.operators.driver import Driver, parts

KV: dict[str, Any] = {"key": "k", "value": "v"}
RNG = np.random.default_rng(41)
ONE: Mapping[str, tuple[int, ...]] = {"key": (1,), "value": (1,)}


def folded(operator: LinearAttention, keys: Any, values: Any, times: Any) -> tuple[Driver, Floats]:
    """Fold all events of one key; the driver and every event's read-out."""
    columns = {"key": np.asarray(keys, float), "value": np.asarray(values, float)}
    driver = Driver(operator, {role: column.shape[1:] for role, column in columns.items()})
    result = driver.fold([0] * len(columns["key"]), columns, times)
    return driver, parts(result)["value" if isinstance(result, dict) else ""]  # type: ignore[arg-type]


def alike(name: str, q: Floats, k: Floats, **parameters: int) -> Floats:
    """How much alike a feature map finds queries and keys, each with each."""
    phi = FEATURE_MAPS[name]  # type: ignore[index]
    likeness: Floats = phi(q, **parameters) @ phi(k, **parameters).T
    return likeness


def test_taylor2_is_the_second_order_of_the_exponential() -> None:
    q, k = RNG.normal(size=(2, 50, 5))
    s = q @ k.T
    np.testing.assert_allclose(alike("taylor2", q, k), 1 + s + s**2 / 2, rtol=1e-13, atol=1e-13)
    assert FEATURE_MAPS["taylor2"](q).shape == (50, 1 + 5 + 15)


def test_dpfp_by_hand() -> None:
    assert FEATURE_MAPS["dpfp"](np.array([[2.0, -3.0]])).tolist() == [[6.0, 0.0, 0.0, 0.0]]
    features = FEATURE_MAPS["dpfp"](np.array([[2.0, 3.0]]), nu=3)  # type: ignore[call-arg]
    # r = [2, 3, 0, 0], times itself shifted by one, two and three places
    assert features.tolist() == [[0.0, 6.0, 0.0, 0.0, 0, 0, 0, 0, 6.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("d", [2, 3, 8])
def test_favor_is_the_exponential_on_average(d: int) -> None:
    q, k = RNG.uniform(-0.5, 0.5, (2, 20, d)) / math.sqrt(d / 2)
    np.testing.assert_allclose(alike("favor", q, k, features=20_000, seed=1), np.exp(q @ k.T), rtol=0.05)
    assert (favor(q) > 0).all()


def test_directions_of_favor_are_orthogonal_in_sets_and_normally_long() -> None:
    d, m = 4, 4000
    # phi(x) = e^(w . x - |x|^2 / 2) / sqrt(m) gives each w back
    w = np.log(favor(np.eye(d), m, 3) * math.sqrt(m)) + 0.5
    sets = w.T.reshape(-1, d, d)
    products = sets @ sets.swapaxes(1, 2)
    assert np.abs(products[:, ~np.eye(d, dtype=bool)]).max() < 1e-12
    assert (w**2).sum(axis=0).mean() == pytest.approx(d, rel=0.05)
    assert w.mean(axis=1) == pytest.approx(np.zeros(d), abs=0.1)


def test_the_features_of_a_seed_are_the_same_for_ever() -> None:
    wanted = [
        [0.5853674249188602, 0.10892948824601438, 0.018810939200922118],
        [0.6336099177296797, 0.9880988811676966, 0.31857495514904494],
    ]
    np.testing.assert_allclose(favor(np.array([[1.0, 1.0], [0.5, -0.25]]), 3, 12), wanted, rtol=1e-12)
    assert (favor(np.ones((1, 2)), 3, 12) != favor(np.ones((1, 2)), 3, 13)).all()


def test_parameters_of_feature_maps_that_are_left_out() -> None:
    key = np.array([[0.5, -0.25]])
    np.testing.assert_array_equal(FEATURE_MAPS["favor"](key), favor(key, features=64, seed=0))
    np.testing.assert_array_equal(FEATURE_MAPS["dpfp"](key), dpfp(key, nu=1))


def test_keys_too_long_for_favor_are_like_nothing() -> None:
    operator = LinearAttention(**KV, feature_map="favor")
    _, result = folded(operator, [[1.0, 0.0], [1e308, -1e308]], [[1.0], [2.0]], [0.0, 1.0])
    assert result[0] == pytest.approx(1.0, rel=1e-12)
    assert np.isnan(result[1])


def test_random_features_come_near_kernel_regression() -> None:
    x = RNG.uniform(-1, 1, (3000, 1))
    y = np.sin(3 * x)
    driver, _ = folded(LinearAttention(**KV, feature_map="favor", features=256), 2 * x, y, None)
    asked = np.array([[0.5]])
    weights = np.exp(2 * x @ (2 * asked))
    assert driver.read(2 * asked)[0, 0] == pytest.approx(float((weights * y).sum() / weights.sum()), abs=0.05)  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "option", "said"),
    [
        ({"features": 8}, "features", 'found it beside feature_map = "elu1", expected it beside "favor"'),
        ({"feature_map": "dpfp", "seed": 1}, "seed", 'expected it beside "favor"'),
        ({"feature_map": "favor", "nu": 2}, "nu", 'expected it beside "dpfp"'),
        ({"feature_map": "favor", "features": 0}, "features", "found 0, expected a whole number for favor, at least 1"),
        ({"feature_map": "favor", "seed": -1}, "seed", "from 0 to 4294967295"),
        ({"feature_map": "dpfp", "nu": 1.5}, "nu", "found 1.5, expected a whole number for dpfp, at least 1"),
        ({"feature_map": "softmax"}, "feature_map", '"taylor2", "favor", "dpfp"'),
        ({"half_life": "0s"}, "half_life", "expected a duration above 0"),
        ({"half_life": "1m", "heads": ["1m"]}, "heads", "found heads beside half_life, expected one of them"),
        ({"heads": "1m"}, "heads", "found '1m', expected a list of durations"),
        ({"heads": []}, "heads", "found [], expected a list of durations"),
        ({"heads": ["1m", "soon"]}, "heads", "found 'soon', expected a duration such as"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        LinearAttention(**KV, **options)
    assert caught.value.option == option
    assert said in str(caught.value)


def test_more_shifts_than_a_key_has_places_for_are_refused() -> None:
    operator = LinearAttention(**KV, feature_map="dpfp", nu=4)
    assert operator.layout({"key": (3,), "value": (1,)}).fields[1].shape == (24, 2)
    with pytest.raises(OperatorError, match="found 4, expected at most 3 for keys of 2 numbers"):
        operator.layout({"key": (2,), "value": (1,)})


def test_a_half_life_halves_the_weight_of_what_came_before() -> None:
    operator = LinearAttention(**KV, feature_map="identity", half_life="10s")
    driver, result = folded(operator, [[1.0]] * 3, [[1.0], [4.0], [2.0]], [0.0, 10.0, 20.0])
    np.testing.assert_allclose(result[:, 0], [1.0, (0.5 + 4) / 1.5, (0.25 + 2 + 2) / 1.75], rtol=1e-15)
    assert driver.export() == {"mu": [[0.25 + 2 + 2]], "nu": [1.75], "time": 20.0}


def test_a_late_pair_has_the_weight_of_its_time() -> None:
    operator = LinearAttention(**KV, feature_map="identity", half_life="10s")
    late, _ = folded(operator, [[1.0]] * 3, [[2.0], [4.0], [1.0]], [20.0, 10.0, 0.0])
    assert late.export() == {"mu": [[0.25 + 2 + 2]], "nu": [1.75], "time": 20.0}


def test_each_head_reads_as_a_memory_of_its_own() -> None:
    lives = ["3s", "2m", "1h"]
    keys, values, times = RNG.normal(size=(200, 2)), RNG.normal(size=(200, 3)), np.cumsum(RNG.exponential(2.0, 200))
    for readout in ("after", "before"):
        driver, result = folded(LinearAttention(**KV, heads=lives, readout=readout), keys, values, times)
        assert result.shape == (200, 3, 3)
        query = np.array([[0.3, -1.0]])
        for head, life in enumerate(lives):
            one, alone = folded(LinearAttention(**KV, half_life=life, readout=readout), keys, values, times)
            np.testing.assert_allclose(result[:, head], alone, rtol=1e-12, atol=1e-13)
            asked = (parts(memory.read(query)) for memory in (driver, one))
            for bank, single in zip(*(part.values() for part in asked), strict=True):
                np.testing.assert_allclose(bank[:, head], single, rtol=1e-12, atol=1e-13)


def test_the_error_of_a_bank_is_that_of_each_head() -> None:
    driver = Driver(LinearAttention(**KV, heads=["1s", "1h"], readout="before"), {"key": (1,), "value": (2,)})
    got = driver.fold([0, 0], {"key": [[1.0]] * 2, "value": [[1.0, 2.0], [4.0, 3.0]]}, [0.0, 1.0])
    assert isinstance(got, dict)
    assert np.isnan(got["error"][0]).all()
    assert got["value"][1].tolist() == [[1.0, 2.0]] * 2
    assert got["error"][1].tolist() == [[3.0, 1.0]] * 2


def test_a_prediction_is_read_before_time_has_passed() -> None:
    operator = LinearAttention(**KV, half_life="1ms", readout="before")
    _, result = folded(operator, [[1.0]] * 2, [[3.0], [5.0]], [0.0, 1e6])
    assert result[1] == pytest.approx(3.0, rel=1e-15)


@pytest.mark.parametrize("start", [0.0, 1.7e9, -4e8])
def test_weights_keep_all_digits_at_any_time(start: float) -> None:
    life, times = 0.003, start + np.arange(40) / 1024
    values = RNG.uniform(1, 2, (40, 1))
    _, result = folded(LinearAttention(**KV, feature_map="identity", half_life=life), [[1.0]] * 40, values, times)
    weights = [2.0 ** float((Fraction(t) - Fraction(times[-1])) / Fraction(life)) for t in times.tolist()]
    wanted = math.fsum(w * v for w, v in zip(weights, values[:, 0].tolist(), strict=True)) / math.fsum(weights)
    assert result[-1, 0] == pytest.approx(wanted, rel=1e-14)


def test_a_slow_memory_does_not_drift_over_thousands_of_batches() -> None:
    n, life = 4000, 1000.0
    values = RNG.uniform(1, 2, n)
    driver = Driver(LinearAttention(**KV, feature_map="identity", half_life=life), ONE)
    for i in range(n):
        driver.fold([0], {"key": [[0.1]], "value": [[values[i]]]}, [float(i)], each=False)
    weights = [2.0 ** ((i - n + 1) / life) for i in range(n)]
    wanted = math.fsum(w * v for w, v in zip(weights, values.tolist(), strict=True)) / math.fsum(weights)
    assert parts(driver.read())[""][0, 0] == pytest.approx(wanted, rel=4e-16)


def huge_and_small(start: float = 0.0) -> Driver:
    """A memory of 2^53 and 1, of the same time: their sum is no double, so that it is in two parts."""
    driver = Driver(LinearAttention(**KV, feature_map="identity", half_life="1s"), ONE)
    for value in (2.0**53, 1.0):
        driver.fold([0], {"key": [[1.0]], "value": [[value]]}, [start])
    return driver


def test_what_roundings_lost_fades_with_the_sums() -> None:
    driver = huge_and_small()
    driver.fold([0], {"key": [[1.0]], "value": [[-(2.0**52)]]}, [1.0])
    assert driver.export()["mu"] == [[0.5]]


def test_what_roundings_lost_fades_in_a_merge() -> None:
    earlier, later = huge_and_small(), Driver(LinearAttention(**KV, feature_map="identity", half_life="1s"), ONE)
    later.fold([0], {"key": [[1.0]], "value": [[-(2.0**52)]]}, [1.0])
    earlier.memory.merge(later.memory)
    assert earlier.export()["mu"] == [[0.5]]
    later.memory.merge(huge_and_small().memory)
    assert later.export()["mu"] == [[0.5]]


def test_a_memory_of_nothing_does_not_make_older_ones_fade() -> None:
    driver, nothing = huge_and_small(-1e6), huge_and_small(-5e5)
    before = driver.export()
    state, empty = driver.memory.state([0]), Driver(driver.operator, ONE).memory.state([0])
    driver.operator.merge(state, empty)
    assert driver.operator.export(state)[0] == before
    driver.operator.merge(empty, nothing.memory.state([0]))
    assert driver.operator.export(empty)[0] == nothing.export()
