"""Memories that learn the relation of key and value, by hand, by other libraries, and where arithmetic is hard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import linear_model, optim

from operators import DeltaRule, GatedDeltaRule, Operator, OperatorError, Ridge
from operators.columns.grouping import Floats
from tests.operators.driver import Driver, parts
from tests.operators.goldens.delta import HALF_LIFE, inputs

KV: dict[str, Any] = {"key": "k", "value": "v"}
Columns = Mapping[str, Any]
RNG = np.random.default_rng(31)


def run(operator: Operator, columns: Columns, times: Any = None, cuts: list[int] | None = None) -> tuple[Driver, Any]:
    """Fold all events of one key; the driver and every event's result."""
    given = {role: np.asarray(column, float) for role, column in columns.items()}
    driver = Driver(operator, {role: column.shape[1:] for role, column in given.items()})
    n = len(given["value"])
    when = np.arange(float(n)) if times is None else np.asarray(times, float)
    return driver, driver.fold_in_batches(np.zeros(n, int), given, when, cuts or [])


def test_the_delta_rule_by_hand() -> None:
    columns = {"key": [[1, 0], [1, 1]], "value": [[4], [6]]}
    driver, result = run(DeltaRule(**KV, rate=0.5), columns)
    assert driver.export()["count"] == 2
    np.testing.assert_allclose(driver.export()["memory"], [[3.0], [1.0]], rtol=1e-15)
    np.testing.assert_allclose(result, [[2.0], [4.0]], rtol=1e-15)
    assert driver.read([[2.0, 1.0]]) == pytest.approx(7.0, rel=1e-15)


def test_the_prediction_comes_before_the_event_is_learned() -> None:
    _, result = run(
        DeltaRule(**KV, rate=0.5, readout="before"), {"key": [[1, 0], [1, 1], [0, 0]], "value": [[4], [6], [5]]}
    )
    np.testing.assert_allclose(result["value"], [[0.0], [2.0], [0.0]], atol=1e-15)
    np.testing.assert_allclose(result["error"], [[4.0], [4.0], [5.0]], atol=1e-15)


def test_at_rate_1_a_key_gives_the_latest_value_it_came_with() -> None:
    keys, _ = np.linalg.qr(RNG.normal(size=(8, 8)))
    which, values = RNG.integers(0, 8, 500), RNG.normal(size=(500, 2))
    driver, _ = run(DeltaRule(**KV, rate=1), {"key": keys[which], "value": values}, cuts=[1, 100, 101])
    for key in range(8):
        latest = values[np.flatnonzero(which == key)[-1]]
        np.testing.assert_allclose(driver.read(keys[key : key + 1])[0], latest, atol=1e-14)  # type: ignore[index]


def test_a_key_of_zero_changes_nothing_and_the_length_of_a_key_does_not_matter_to_what_is_learned() -> None:
    columns = {"key": [[3.0, 4.0], [0.0, 0.0]], "value": [[10.0], [99.0]]}
    driver, _ = run(DeltaRule(**KV, rate=1.0), columns)
    np.testing.assert_allclose(driver.export()["memory"], [[1.2], [1.6]], rtol=1e-15)
    for scale in (1e-200, 1e-3, 1e200):
        scaled = {name: scale * np.array(column) for name, column in columns.items()}
        np.testing.assert_allclose(run(DeltaRule(**KV, rate=1.0), scaled)[0].export()["memory"], [[1.2], [1.6]])


def test_without_normalisation_the_step_grows_with_the_key() -> None:
    driver, _ = run(DeltaRule(**KV, rate=0.1, normalize=False), {"key": [[3.0, 0.0]], "value": [[10.0]]})
    assert driver.export()["memory"] == [[pytest.approx(3.0)], [0.0]]


def test_a_weight_is_a_rate_of_the_event_s_own() -> None:
    key, value = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 2))
    columns = {"key": key, "value": value}
    _, plain = run(DeltaRule(**KV, rate=0.6), columns)
    _, weighed = run(DeltaRule(**KV, rate=1.2, weight="w"), {**columns, "weight": np.full(50, 0.5)})
    np.testing.assert_array_equal(weighed, plain)
    driver, _ = run(DeltaRule(**KV, rate=1.2, weight="w"), {**columns, "weight": np.zeros(50)})
    assert not np.any(driver.export()["memory"])


def test_a_feature_map_bends_the_line() -> None:
    key = RNG.uniform(-1, 1, size=(3000, 1))
    _, result = run(
        Ridge(**KV, l2=1e-3, feature_map="taylor2", readout="before"), {"key": key, "value": key**2 + key - 1}
    )
    assert np.abs(result["error"][-1000:]).max() < 1e-3


def test_the_gated_rule_decays_first() -> None:
    columns = {"key": [[1, 0], [1, 0]], "value": [[4], [4]]}
    driver, result = run(GatedDeltaRule(**KV, rate=0.5, gamma=0.5, readout="before"), columns)
    assert result["value"].tolist() == [[0.0], [2.0]]
    assert driver.export()["memory"] == [[2.5], [0.0]]


def test_a_gap_of_a_half_life_halves_and_a_late_event_finds_no_gap() -> None:
    columns = {"key": [[1, 0], [0, 1], [0, 1], [0, 1]], "value": [[8], [0], [0], [0]]}
    operator = GatedDeltaRule(**KV, rate=1.0, half_life="10s")
    for cuts in ([], [1, 2, 3]):
        driver, _ = run(operator, columns, [1e9, 1e9 + 10, 1e9 + 5, 1e9 + 20], cuts)
        assert driver.export()["memory"] == [[2.0], [0.0]]
        assert driver.fields["time"][0] == 1e9 + 20


def test_time_passes_before_1970_too() -> None:
    columns = {"key": [[1, 0], [0, 1]], "value": [[8], [0]]}
    driver, _ = run(GatedDeltaRule(**KV, rate=1.0, half_life="10s"), columns, [-1e6, -1e6 + 10])
    assert driver.export()["memory"] == [[4.0], [0.0]]
    driver, _ = run(Ridge(**KV, l2=1.0, half_life="10s"), columns, [-1e6 - 3, -1e6 + 7])
    np.testing.assert_allclose(driver.export()["gram"], [[0.5, 0.0], [0.0, 1.0]], rtol=1e-15)
    np.testing.assert_allclose(parts(driver.read([[1.0, 0.0]]))["leverage"], [1 / 1.5], rtol=1e-15)


def test_a_decay_of_0_forgets_everything() -> None:
    columns = {"key": [[1, 0], [0, 1]], "value": [[8], [3]], "decay": [1.0, 0.0]}
    driver, _ = run(GatedDeltaRule(**KV, rate=1.0, decay="a"), columns)
    assert driver.export()["memory"] == [[0.0], [3.0]]


@pytest.mark.parametrize("cuts", [[], list(range(1, 40))])
def test_the_numbers_of_flash_linear_attention(cuts: list[int]) -> None:
    wanted = json.loads((Path(__file__).parent / "goldens" / "delta.json").read_text("utf-8"))
    given = inputs()
    ask: dict[str, Any] = {**KV, "query": "q"}
    columns = {name: given[name] for name in ("key", "value", "query")}
    weighted = {**columns, "weight": given["weight"]}
    for normalize in (True, False):
        rule = DeltaRule(**ask, rate=1.0, weight="w", normalize=normalize)
        np.testing.assert_allclose(run(rule, weighted, cuts=cuts)[1], wanted["delta_rule"], rtol=1e-12, atol=1e-14)
    gated = GatedDeltaRule(**ask, rate=1.0, weight="w", decay="a")
    _, result = run(gated, {**weighted, "decay": given["decay"]}, cuts=cuts)
    np.testing.assert_allclose(result, wanted["gated_delta_rule"], rtol=1e-12, atol=1e-14)
    _, result = run(Ridge(**ask, l2=0.3, half_life=HALF_LIFE), columns, given["time"], cuts)
    np.testing.assert_allclose(result["value"], wanted["mesa_net"], rtol=1e-12, atol=1e-14)


def test_least_mean_squares_are_river_s_gradient_steps() -> None:
    key, value = RNG.normal(size=(300, 4)), RNG.normal(size=300)
    model: Any = linear_model.LinearRegression(optimizer=optim.SGD(0.01), l2=0.0, intercept_lr=0.0, clip_gradient=1e300)
    wanted = []
    for k, v in zip(key.tolist(), value.tolist(), strict=True):
        named = dict(enumerate(k))
        wanted.append(model.predict_one(named))
        model.learn_one(named, v)
    operator = DeltaRule(**KV, rate=0.02, normalize=False, readout="before")
    _, result = run(operator, {"key": key, "value": value[:, None]}, cuts=[7, 150])
    np.testing.assert_allclose(result["value"][:, 0], wanted, rtol=1e-12, atol=1e-14)


def test_ridge_regression_is_river_s_bayesian_one() -> None:
    key, value = RNG.normal(size=(200, 4)), RNG.normal(size=200)
    model: Any = linear_model.BayesianLinearRegression(alpha=0.7, beta=1.0)
    _, result = run(Ridge(**KV, l2=0.7, readout="before"), {"key": key, "value": value[:, None]}, cuts=[3, 90])
    for i, (k, v) in enumerate(zip(key.tolist(), value.tolist(), strict=True)):
        named = dict(enumerate(k))
        if i:
            predicted = model.predict_one(named, with_dist=True)
            assert result["value"][i, 0] == pytest.approx(predicted.mu, rel=1e-9, abs=1e-11)
            assert 1.0 + result["leverage"][i] == pytest.approx(predicted.sigma**2, rel=1e-9)
        model.learn_one(named, v)


def test_ridge_regression_is_least_squares_with_rows_for_the_penalty() -> None:
    key, value, query = RNG.normal(size=(60, 5)), RNG.normal(size=(60, 2)), RNG.normal(size=(60, 5))
    _, result = run(Ridge(**KV, query="q", l2=0.2), {"key": key, "value": value, "query": query}, cuts=[20])
    for n in (1, 5, 20, 60):
        rows = np.concatenate([key[:n], np.sqrt(0.2) * np.eye(5)])
        coefficients = np.linalg.lstsq(rows, np.concatenate([value[:n], np.zeros((5, 2))]))[0]
        np.testing.assert_allclose(result["value"][n - 1], query[n - 1] @ coefficients, rtol=1e-11, atol=1e-13)


def test_nothing_is_known_before_the_first_event() -> None:
    driver, result = run(Ridge(**KV, l2=4.0, readout="before"), {"key": [[2.0, 0.0]], "value": [[3.0]]})
    assert (result["value"].tolist(), result["error"].tolist(), result["leverage"].tolist()) == (
        [[0.0]],
        [[3.0]],
        [1.0],
    )
    asked = parts(driver.read([[0.0, 6.0]]))
    assert (asked["value"].tolist(), asked["leverage"].tolist()) == ([[0.0]], [9.0])
    assert np.isnan(asked["error"]).all()
    assert driver.export() == {"count": 1, "gram": [[4.0, 0.0], [0.0, 0.0]], "moment": [[6.0], [0.0]]}


def test_what_decays_is_known_less_and_less() -> None:
    columns = {"key": [[1.0, 0.0], [0.0, 1.0]], "value": [[4.0], [0.0]]}
    driver, _ = run(Ridge(**KV, l2=1.0, half_life="1m"), columns, [1e9 + 7, 1e9 + 127])
    read = parts(driver.read([[1.0, 0.0]]))
    np.testing.assert_allclose(read["value"], [[0.8]], rtol=1e-15)
    np.testing.assert_allclose(read["leverage"], [0.8], rtol=1e-15)
    np.testing.assert_allclose(driver.export()["gram"], [[0.25, 0.0], [0.0, 1.0]], rtol=1e-15)


def test_a_spike_that_is_taken_back_leaves_no_trace() -> None:
    key, value = RNG.normal(size=(30, 3)), RNG.normal(size=(30, 2))
    key[10], value[10] = [1e15, -2e15, 3e14], [1e12, 1.0]
    driver, _ = run(Ridge(**KV, l2=0.1), {"key": key, "value": value}, cuts=[10, 11])
    driver.retract([0], {"key": key[10:11], "value": value[10:11]}, [10.0])
    others = [i for i in range(30) if i != 10]
    clean, _ = run(Ridge(**KV, l2=0.1), {"key": key[others], "value": value[others]})
    query = RNG.normal(size=(1, 3))
    for name, part in parts(clean.read(query)).items():
        np.testing.assert_allclose(parts(driver.read(query))[name], part, rtol=1e-13)


def test_what_was_predicted_last_is_still_there_after_a_merge() -> None:
    operator = Ridge(**KV, l2=0.5, readout="before")
    columns = {"key": RNG.normal(size=(9, 2)), "value": RNG.normal(size=(9, 1))}
    late = {role: column[6:] for role, column in columns.items()}
    driver, _ = run(operator, {role: column[:6] for role, column in columns.items()})
    other, _ = run(operator, late)
    driver.memory.merge(other.memory)
    for name, part in parts(other.read()).items():
        np.testing.assert_array_equal(parts(driver.read())[name], part)
    driver.memory.merge(Driver(operator, {"key": (2,), "value": (1,)}).memory)
    assert parts(driver.read())["leverage"] == parts(other.read())["leverage"]


def test_nothing_and_a_memory_from_before_1970_is_that_memory() -> None:
    operator, columns = Ridge(**KV, l2=1.0, half_life="10s"), {"key": [[1, 0], [0, 1]], "value": [[8], [0]]}
    driver, _ = run(operator, columns, [-1e6 - 3, -1e6 + 7])
    empty = Driver(operator, {"key": (2,), "value": (1,)})
    empty.fold([], {"key": np.zeros((0, 2)), "value": np.zeros((0, 1))})
    empty.memory.merge(driver.memory)
    assert empty.export() == driver.export()
    assert empty.fields["time"][0] == -1e6 + 7
    driver.memory.merge(Driver(operator, {"key": (2,), "value": (1,)}).memory)
    assert empty.export() == driver.export()


def test_with_a_half_life_nothing_can_be_taken_back() -> None:
    columns = {"key": [[1.0]], "value": [[1.0]]}
    driver, _ = run(Ridge(**KV, l2=1.0, half_life="1s"), columns, [0.0])
    with pytest.raises(OperatorError, match="can't take events back"):
        driver.retract([0], columns, [0.0])


def coefficients(key: Floats, value: Floats, l2: float) -> tuple[list[Fraction], Floats]:
    """The exact solution of (G + l2 I) w = R, and G + l2 I."""
    d = key.shape[1]
    columns = [[Fraction(x) for x in column] for column in (*key.T.tolist(), value.tolist())]
    dots = [[sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0)) for b in columns] for a in columns[:d]]
    for i in range(d):
        dots[i][i] += Fraction(l2)
    matrix = np.array([[float(x) for x in row[:d]] for row in dots])
    for i, pivot in enumerate(dots):
        pivot[:] = [x / pivot[i] for x in pivot]
        for other in dots[:i] + dots[i + 1 :]:
            other[:] = [x - other[i] * y for x, y in zip(other, pivot, strict=True)]
    return [row[d] for row in dots], matrix


@pytest.mark.parametrize("degree", [3, 5, 7])
def test_the_error_is_bounded_by_the_condition_number(degree: int) -> None:
    x = RNG.uniform(0, 1, 200)
    key, value = x[:, None] ** np.arange(degree + 1), RNG.normal(size=200)
    exact, matrix = coefficients(key, value, 1e-9)
    condition = np.linalg.cond(matrix)
    assert 1e4 < condition < 1e13
    driver, _ = run(Ridge(**KV, l2=1e-9), {"key": key, "value": value[:, None]})
    size = np.linalg.norm([float(w) for w in exact])
    for query in np.eye(degree + 1):
        got = float(parts(driver.read(query[None]))["value"][0, 0])
        wanted = float(sum((Fraction(q) * w for q, w in zip(query.tolist(), exact, strict=True)), Fraction(0)))
        assert abs(got - wanted) < 10 * np.finfo(float).eps * condition * size


def test_the_units_of_the_key_s_numbers_do_not_matter_to_the_error() -> None:
    key, value = RNG.normal(size=(80, 4)), RNG.normal(size=80)
    units = np.array([1e9, 1.0, 1e-7, 1e3])
    exact, matrix = coefficients(key * units, value, 1e-30)
    assert np.linalg.cond(matrix) > 1e30
    driver, _ = run(Ridge(**KV, l2=1e-30), {"key": key * units, "value": value[:, None]})
    for i, query in enumerate(np.eye(4)):
        assert parts(driver.read(query[None]))["value"][0, 0] == pytest.approx(float(exact[i]), rel=1e-13)


@pytest.mark.parametrize("d", [2, 16, 64])
@pytest.mark.parametrize("size", [1e-100, 1.0, 1e140])
def test_keys_that_are_all_alike_are_no_trouble(d: int, size: float) -> None:
    key = np.full((300, d), size)
    driver, result = run(Ridge(**KV, l2=1e-300), {"key": key, "value": np.full((300, 1), 7.0)}, cuts=[1, 2])
    np.testing.assert_allclose(result["value"], 7.0, rtol=1e-11)
    assert np.isfinite(result["leverage"]).all()
    np.testing.assert_allclose(parts(driver.read(key[:1]))["value"], 7.0, rtol=1e-11)


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.9])
def test_a_spike_changes_nothing_of_what_was_read_before_it(rate: float) -> None:
    key, value = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))
    _, before = run(DeltaRule(**KV, rate=rate), {"key": key[:20], "value": value[:20]})
    value[20] = 1e200
    _, after = run(DeltaRule(**KV, rate=rate), {"key": key, "value": value})
    np.testing.assert_allclose(after[:20], before, rtol=1e-12, atol=1e-14)


def test_one_key_s_spike_stays_with_it() -> None:
    key, value, who = RNG.normal(size=(300, 3)), RNG.normal(size=(300, 2)), RNG.integers(0, 20, 300)
    for operator in (DeltaRule(**KV, rate=0.5), Ridge(**KV, l2=1.0), GatedDeltaRule(**KV, rate=0.5, gamma=0.9)):
        driver, spiked = (Driver(operator, {"key": (3,), "value": (2,)}, 20) for _ in range(2))
        driver.fold(who, {"key": key, "value": value})
        spike = np.where((who == 3)[:, None], 1e150 * value, value)
        spiked.fold(who, {"key": key, "value": spike})
        for name, part in parts(driver.read()).items():
            others = np.arange(20) != 3
            np.testing.assert_array_equal(parts(spiked.read())[name][others], part[others])


@pytest.mark.parametrize(
    ("operator", "role", "numbers", "said"),
    [
        (DeltaRule(**KV, rate=0.5, weight="w"), "weight", [1.0, 4.0], "weight: found 4.0, expected a number of at"),
        (DeltaRule(**KV, rate=0.5, weight="w"), "weight", [-0.1, 1.0], "weight: found -0.1, expected a number of at"),
        (GatedDeltaRule(**KV, rate=1.0, decay="a"), "decay", [1.0, 1.1], "decay: found 1.1, expected a number from 0"),
        (GatedDeltaRule(**KV, rate=1.0, decay="a"), "decay", [-1e-9, 1.0], "decay: found -1e-09, expected a number"),
    ],
)
def test_a_number_that_would_let_the_memory_grow_is_refused(
    operator: Operator, role: str, numbers: list[float], said: str
) -> None:
    columns = {"key": np.ones((2, 1)), "value": np.ones((2, 1)), role: numbers}
    with pytest.raises(ValueError, match=said):
        run(operator, columns)


@pytest.mark.parametrize(
    ("make", "options", "option", "said"),
    [
        (DeltaRule, {"rate": 0.0}, "rate", "found 0.0, expected a number above 0, below 2"),
        (DeltaRule, {"rate": 2}, "rate", "found 2, expected a number above 0, below 2"),
        (DeltaRule, {"rate": "fast"}, "rate", "found 'fast', expected a number above 0"),
        (DeltaRule, {"rate": -1.0, "normalize": False}, "rate", "found -1.0, expected a number above 0"),
        (DeltaRule, {"rate": 1.0, "normalize": 1}, "normalize", "found 1, expected true or false"),
        (DeltaRule, {"rate": 1.0, "feature_map": "cube"}, "feature_map", "found 'cube', expected one of"),
        (DeltaRule, {"rate": 1.0, "weight": 3}, "weight", "found 3, expected the name of a field"),
        (DeltaRule, {"rate": 1.0, "readout": "now"}, "readout", "found 'now', expected one of"),
        (GatedDeltaRule, {"rate": 1.0}, "gamma", "found none of them, expected exactly one of gamma, half_life, decay"),
        (GatedDeltaRule, {"rate": 1.0, "gamma": 0.5, "decay": "a"}, "decay", "found gamma and decay, expected exactly"),
        (GatedDeltaRule, {"rate": 1.0, "gamma": 0.0}, "gamma", "found 0.0, expected a number above 0, at most 1"),
        (GatedDeltaRule, {"rate": 1.0, "gamma": 1.01}, "gamma", "found 1.01, expected a number above 0, at most 1"),
        (GatedDeltaRule, {"rate": 1.0, "half_life": "0s"}, "half_life", "found '0s', expected a duration above 0"),
        (Ridge, {"l2": 0.0}, "l2", "found 0.0, expected a number above 0"),
        (Ridge, {"l2": float("nan")}, "l2", "found nan, expected a number above 0"),
        (Ridge, {"l2": 1.0, "half_life": "soon"}, "half_life", "found 'soon', expected a duration such as"),
        (Ridge, {"l2": 1.0, "feature_map": "cube"}, "feature_map", "found 'cube', expected one of"),
    ],
)
def test_a_wrong_option_is_named(make: Callable[..., Any], options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        make(**KV, **options)
    assert caught.value.option == option
    assert said in str(caught.value)


def test_inputs_that_do_not_fit_are_named() -> None:
    pair = {"key": (2,), "value": (1,)}
    for operator, shapes, option in (
        (DeltaRule(**KV, rate=1.0, weight="w"), {**pair, "weight": (2,)}, "weight"),
        (GatedDeltaRule(**KV, rate=1.0, decay="a"), {**pair, "decay": (2,)}, "decay"),
        (GatedDeltaRule(**KV, rate=1.0, gamma=0.5), {"key": (), "value": (1,)}, "key"),
        (Ridge(**KV, l2=1.0), {"key": (2,), "value": ()}, "value"),
    ):
        with pytest.raises(OperatorError) as caught:
            operator.layout(shapes)
        assert caught.value.option == option
