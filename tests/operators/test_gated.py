"""Memories that fade: by hand, by the steps of their papers, and against other libraries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from operators import GatedLinearAttention, LinearAttention, Lru, Mlstm, Operator, OperatorError, Retention, Rwkv
from operators.columns.grouping import Floats
from tests.operators.driver import Driver, parts
from tests.operators.goldens.gated import HEADS, inputs

KV: dict[str, Any] = {"key": "k", "value": "v"}
ASK: dict[str, Any] = {**KV, "query": "q"}
GATES: dict[str, Any] = {"input_gate": "x", "forget_gate": "f"}
RNG = np.random.default_rng(43)


def run(operator: Operator, columns: Mapping[str, Any], cuts: list[int] | None = None) -> tuple[Driver, Any]:
    """Fold all events of one key; the driver and every event's result."""
    given = {role: np.asarray(column, float) for role, column in columns.items()}
    driver = Driver(operator, {role: column.shape[1:] for role, column in given.items()})
    n = len(given["value"])
    return driver, driver.fold_in_batches(np.zeros(n, int), given, np.arange(float(n)), cuts or [])


def pairs(n: int, d: int = 3) -> dict[str, Floats]:
    key, value, query = RNG.normal(size=(3, n, d))
    return {"key": key, "value": value, "query": query}


@pytest.mark.parametrize("cuts", [[], [7, 8, 30]], ids=["at once", "in batches"])
def test_the_numbers_of_flash_linear_attention(cuts: list[int]) -> None:
    wanted = json.loads((Path(__file__).parent / "goldens" / "gated.json").read_text("utf-8"))
    given = inputs()
    columns = {name: given[name] for name in ("key", "value", "query")}
    heads = [1 - 2.0 ** (-5 - head) for head in range(HEADS)]
    for name, operator, more in (
        ("linear_attn", Retention(**ASK, gamma=1.0), {}),
        ("retention", Retention(**ASK, heads=heads), {}),
        ("simple_gla", GatedLinearAttention(**ASK, gate="a"), {"gate": given["gate"]}),
        ("gla", GatedLinearAttention(**ASK, gate="a"), {"gate": given["rows"]}),
    ):
        _, result = run(operator, {**columns, **more}, cuts)
        np.testing.assert_allclose(result.reshape(len(result), -1), wanted[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_retention_by_hand() -> None:
    columns = {"key": [[1, 0], [0, 2], [1, 1]], "value": [[3, 4], [5, 6], [7, 8]]}
    driver, result = run(Retention(**KV, gamma=0.5), columns)
    assert result.tolist() == [[3, 4], [20, 24], [7.75 + 12, 9 + 14]]
    assert driver.export() == {"count": 3, "memory": [[7.75, 9.0], [12.0, 14.0]]}
    _, result = run(Retention(**KV, gamma=0.5, readout="before"), columns)
    assert result["value"].tolist() == [[0, 0], [0, 0], [1.5 + 10, 2 + 12]]
    assert result["error"].tolist() == [[3, 4], [5, 6], [7 - 11.5, 8 - 14]]


@pytest.mark.parametrize("readout", ["after", "before"])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_an_event_reads_nothing_of_a_pair_that_is_yet_to_come(
    gamma: float, readout: Literal["after", "before"]
) -> None:
    """Their product would overflow."""
    columns = {"key": [[1.0], [1e300]], "value": [[1.0], [1e-300]], "query": [[1e10], [1e-10]]}
    _, result = run(Retention(**ASK, gamma=gamma, readout=readout), columns)
    after, before = [1e10, 1e-10 * (gamma + 1.0)], [0.0, 1e-10]
    found = result["value"] if readout == "before" else result
    np.testing.assert_allclose(np.ravel(found), before if readout == "before" else after, rtol=1e-15)


def test_each_head_of_retention_reads_as_a_memory_of_its_own() -> None:
    gammas, columns = [0.5, 0.96875, 1.0], pairs(300)
    driver, result = run(Retention(**ASK, heads=gammas), columns, [64, 65, 200])
    query = [[0.5, -1.0, 2.0]]
    for head, gamma in enumerate(gammas):
        one, alone = run(Retention(**ASK, gamma=gamma), columns, [3])
        np.testing.assert_allclose(result[:, head], alone, rtol=1e-12, atol=1e-12)
        bank, single = (parts(memory.read(query))[""] for memory in (driver, one))
        np.testing.assert_allclose(bank[:, head], single, rtol=1e-12, atol=1e-12)


def test_a_constant_gate_is_retention() -> None:
    columns = pairs(200)
    _, wanted = run(Retention(**ASK, gamma=0.9), columns)
    for gate in (np.full(200, 0.9), np.full((200, 3), 0.9)):
        _, result = run(GatedLinearAttention(**ASK, gate="a"), {**columns, "gate": gate}, [50])
        np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)


def test_every_row_fades_by_its_own_gate() -> None:
    columns = {"key": np.ones((2, 2)), "value": [[8.0], [1.0]], "gate": [[1.0, 1.0], [0.25, 0.5]]}
    driver, result = run(GatedLinearAttention(**KV, gate=["a", "b"]), columns)
    assert result.tolist() == [[16.0], [2.0 + 4.0 + 2.0]]
    assert driver.export()["memory"] == [[3.0], [5.0]]


def test_no_gate_is_too_small() -> None:
    n = 200
    gate = 10.0 ** RNG.choice([-300.0, -0.01, 0.0], (n, 2), p=[0.1, 0.6, 0.3])
    gate[-20:] = 0.99
    columns = {"key": np.ones((n, 2)), "value": RNG.uniform(1, 2, (n, 1)), "gate": gate}
    _, result = run(GatedLinearAttention(**KV, gate="a"), columns, [100])
    memory = np.zeros(2)
    for i in range(n):
        memory = gate[i] * memory + columns["value"][i]
        assert result[i, 0] == pytest.approx(memory.sum(), rel=1e-13)


@pytest.mark.parametrize("gate", [0.0, -0.5, 1.0000001])
def test_an_event_whose_gate_is_no_share_is_refused(gate: float) -> None:
    columns = {"key": [[1.0]] * 2, "value": [[1.0]] * 2}
    with pytest.raises(ValueError, match=f"gate: found {gate}, expected a number above 0, at most 1"):
        run(GatedLinearAttention(**KV, gate="a"), {**columns, "gate": [0.5, gate]})
    with pytest.raises(ValueError, match=f"forget_gate: found {gate}, expected a number above 0, at most 1"):
        run(Mlstm(**KV, forget_gate="f"), {**columns, "forget_gate": [0.5, gate]})


def test_the_steps_of_the_xlstm_paper() -> None:
    n = 150
    columns = {**pairs(n), "input_gate": RNG.normal(size=n) * 4, "forget_gate": RNG.uniform(0.3, 1.0, n)}
    c, normalizer, m = np.zeros((3, 3)), np.zeros(3), 0.0
    wanted = []
    for i in range(n):
        new = max(math.log(columns["forget_gate"][i]) + m, columns["input_gate"][i])
        f = math.exp(math.log(columns["forget_gate"][i]) + m - new)
        x = math.exp(columns["input_gate"][i] - new)
        m = new
        c = f * c + x * np.outer(columns["key"][i], columns["value"][i])
        normalizer = f * normalizer + x * columns["key"][i]
        query = columns["query"][i]
        wanted.append(query @ c / max(abs(query @ normalizer), math.exp(-m)))
    driver, result = run(Mlstm(**ASK, **GATES), columns, [1, 64, 66])
    np.testing.assert_allclose(result, wanted, rtol=1e-11, atol=1e-12)
    state = driver.export()
    assert state["scale"] == pytest.approx(m, rel=1e-14)
    np.testing.assert_allclose(state["memory"], c, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(state["normalizer"], normalizer, rtol=1e-11, atol=1e-12)


def test_weights_beyond_all_bounds_make_the_surest_pair_all_that_counts() -> None:
    columns = {"key": [[1.0]] * 3, "value": [[5.0], [7.0], [9.0]], "input_gate": [-1e5, 1e5, -1e5]}
    _, result = run(Mlstm(**KV, input_gate="x"), columns)
    assert result.tolist() == [[0.0], [7.0], [7.0]]


def test_a_pair_of_little_weight_is_read_as_little() -> None:
    columns = {"key": [[1.0]] * 2, "value": [[8.0], [8.0]], "input_gate": np.log([0.25, 0.5])}
    _, result = run(Mlstm(**KV, input_gate="x"), columns)
    np.testing.assert_allclose(result, [[2.0], [6.0]], rtol=1e-15)


def test_before_the_first_pair_the_prediction_is_nothing() -> None:
    columns = {"key": [[1.0]] * 2, "value": [[4.0]] * 2, "input_gate": [5.0, 5.0]}
    _, result = run(Mlstm(**KV, input_gate="x", readout="before"), columns)
    assert result["value"].tolist() == [[0.0], [4.0]]
    assert result["error"].tolist() == [[4.0], [0.0]]


def test_equally_sure_events_make_the_ewma_of_pandas() -> None:
    x = RNG.normal(size=500)
    _, result = run(Rwkv(**KV, gamma=0.93), {"key": np.zeros(500), "value": x}, [1, 2, 77])
    np.testing.assert_allclose(result, pd.Series(x).ewm(alpha=0.07).mean(), rtol=1e-12, atol=1e-13)


def test_the_steps_of_rwkv_4() -> None:
    n, gammas = 120, [0.5, 0.9, 1.0]
    w = -np.log(gammas)
    k, v = RNG.normal(size=(2, n, 3)) * [[3.0]]
    a, b, p = np.zeros(3), np.zeros(3), np.full(3, -1e38)
    wanted = []
    for i in range(n):
        top = np.maximum(p, w + k[i])  # the bonus of the newest event is w
        old, new = np.exp(p - top), np.exp(w + k[i] - top)
        wanted.append((old * a + new * v[i]) / (old * b + new))
        top = np.maximum(p - w, k[i])
        old, new = np.exp(p - w - top), np.exp(k[i] - top)
        a, b, p = old * a + new * v[i], old * b + new, top
    driver, result = run(Rwkv(**KV, gamma=gammas), {"key": k, "value": v}, [5, 90])
    np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(driver.export()["scale"], p, rtol=1e-13)


def test_the_surest_event_outweighs_all_others_at_any_size() -> None:
    columns = {"key": [0.0, 1e300, -1e300, 1e300], "value": [1.0, 2.0, 3.0, 4.0]}
    _, result = run(Rwkv(**KV, gamma=1.0), columns)
    assert result.tolist() == [1.0, 2.0, 2.0, 3.0]


def test_predictions_of_rwkv_and_their_errors() -> None:
    driver, result = run(Rwkv(**KV, gamma=0.5, readout="before"), {"key": np.zeros(3), "value": [1.0, 4.0, 6.0]})
    assert np.isnan(result["value"][0])
    assert np.isnan(result["error"][0])
    np.testing.assert_allclose(result["value"][1:], [1.0, 3.0], rtol=1e-15)
    np.testing.assert_allclose(result["error"][1:], [3.0, 3.0], rtol=1e-15)
    driver, _ = run(Rwkv(**KV, readout="before"), {"key": [0.0], "value": [1.0]})
    assert np.isnan([*parts(driver.read()).values()]).all()
    assert driver.operator.algebra == "none"
    assert Rwkv(**KV).algebra == "ordered"


def test_oscillators_are_filters_of_one_pole() -> None:
    signal = pytest.importorskip("scipy.signal")
    x, magnitudes, phases = RNG.normal(size=3000), [0.5, 0.99, 0.9999], [0.0, 1.0, -2.5]
    _, result = run(Lru(value="x", magnitudes=magnitudes, phases=phases, part="both"), {"value": x}, [9, 2000])
    for i, (r, theta) in enumerate(zip(magnitudes, phases, strict=True)):
        pole = r * complex(math.cos(theta), math.sin(theta))
        wanted = signal.lfilter([1.0], [1.0, -pole], x.astype(complex))
        np.testing.assert_allclose(result["real"][:, i] + 1j * result["imag"][:, i], wanted, atol=1e-11)


def test_an_oscillator_answers_to_its_own_period() -> None:
    n, periods, r = 4000, [8, 20, 50], 0.98
    x = np.cos(2 * np.pi * np.arange(n) / 20)
    bank = Lru(value="x", magnitudes=[r] * 3, phases=[2 * math.pi / period for period in periods])
    _, result = run(bank, {"value": x})
    assert result[-1, 1] == pytest.approx(0.5 / (1 - r), rel=0.02)  # half of a cosine turns each way
    assert max(result[-1, 0], result[-1, 2]) < 0.3 * result[-1, 1]


def test_an_oscillator_is_in_phase_after_a_million_events() -> None:
    n, r, theta = 1_000_000, 1 - 1e-9, 0.7
    driver = Driver(Lru(value="x", magnitudes=[r], phases=[theta], part="both"), {"value": ()})
    for size in (1, 299_999, 700_001):
        impulse = np.zeros(size)
        impulse[0] = size == 1
        driver.fold(np.zeros(size, int), {"value": impulse}, each=False)
    turns = Fraction(theta) * n / Fraction("6.28318530717958647692528676655900576839433879875021")
    angle = float((turns - round(turns)) * Fraction("6.28318530717958647692528676655900576839433879875021"))
    got = driver.read()
    assert isinstance(got, dict)
    assert got["real"][0, 0] == pytest.approx(r**n * math.cos(angle), abs=1e-14)
    assert got["imag"][0, 0] == pytest.approx(r**n * math.sin(angle), abs=1e-14)


def test_the_parts_of_an_oscillator() -> None:
    columns = {"value": [[3.0, 0.0], [0.0, 1.0]]}
    quarter: dict[str, Any] = {"value": "x", "magnitudes": [0.5], "phases": [math.pi / 2]}
    for part, wanted in (("real", [[0.0, 1.0]]), ("imag", [[1.5, 0.0]]), ("magnitude", [[1.5, 1.0]])):
        driver, result = run(Lru(**quarter | {"part": part}), columns)
        np.testing.assert_allclose(result[-1], wanted, atol=1e-15)
    assert driver.export()["count"] == 2
    np.testing.assert_allclose(driver.export()["imag"], [[1.5, 0.0]], rtol=1e-15)


MERGED: list[tuple[Operator, list[str]]] = [
    (LinearAttention(**ASK, half_life="5s"), []),
    (Retention(**ASK, heads=[0.9, 0.5]), []),
    (GatedLinearAttention(**ASK, gate="a"), ["gate"]),
    (Mlstm(**ASK, **GATES), ["input_gate", "forget_gate"]),
    (Rwkv(**KV, gamma=0.9), []),
    (Lru(value="v", magnitudes=[0.9], phases=[0.4]), []),
]
merged = pytest.mark.parametrize(("operator", "gates"), MERGED, ids=[type(operator).__name__ for operator, _ in MERGED])


@merged
def test_what_came_in_several_batches_is_merged_as_one_run(operator: Operator, gates: list[str]) -> None:
    columns = {**pairs(90), **{role: RNG.uniform(0.3, 1.0, 90) for role in gates}}
    columns = {role: columns[role] for role in operator.inputs()}
    halves = [Driver(operator, {role: column.shape[1:] for role, column in columns.items()}) for _ in range(2)]
    for driver, edges in zip(halves, ([0, 40], [40, 41, 70, 90]), strict=True):
        for begin, end in pairwise(edges):
            part = {role: column[begin:end] for role, column in columns.items()}
            driver.fold([0] * (end - begin), part, np.arange(begin, end, dtype=float), each=False)
    first, second = halves
    first.memory.merge(second.memory)
    _, result = run(operator, columns)
    np.testing.assert_allclose(parts(first.read())[""][0], result[-1], rtol=1e-11, atol=1e-12)


@merged
def test_nothing_and_nothing_is_nothing(operator: Operator, gates: list[str]) -> None:
    shapes = {role: () if role in gates else (3,) for role in operator.inputs()}
    one, other = (Driver(operator, shapes).memory.state([0]) for _ in range(2))
    with np.errstate(all="ignore"):
        operator.merge(one, other)
        assert np.isnan(parts(operator.read(one))[""]).all()
    for name, array in one.fields.items():
        np.testing.assert_array_equal(array, other[name])


@pytest.mark.parametrize(
    ("make", "options", "option", "said"),
    [
        (Retention, KV, "gamma", "found none of them, expected exactly one of gamma, heads"),
        (Retention, {**KV, "gamma": 0.9, "heads": [0.9]}, "heads", "found gamma and heads, expected exactly one"),
        (Retention, {**KV, "gamma": 0.0}, "gamma", "found 0.0, expected a number above 0, at most 1"),
        (Retention, {**KV, "gamma": "0.9"}, "gamma", "found '0.9', expected a number above 0"),
        (Retention, {**KV, "heads": []}, "heads", "found [], expected a list of numbers above 0, at most 1"),
        (Retention, {**KV, "heads": [0.5, 1.5]}, "heads", "found [0.5, 1.5], expected a list of numbers above 0"),
        (Rwkv, {**KV, "gamma": 2.0}, "gamma", "found 2.0, expected a number above 0, at most 1, or a list"),
        (Rwkv, {**KV, "gamma": [0.5, 0.0]}, "gamma", "found [0.5, 0.0], expected a number above 0"),
        (Rwkv, {**KV, "gamma": []}, "gamma", "found [], expected"),
        (Rwkv, {**KV, "readout": "now"}, "readout", 'expected one of "after", "before"'),
        (Lru, {"value": "x", "magnitudes": [1.0]}, "magnitudes", "found [1.0], expected a list of numbers above 0"),
        (Lru, {"value": "x", "magnitudes": 0.5}, "magnitudes", "found 0.5, expected a list of numbers above 0"),
        (Lru, {"value": "x", "magnitudes": [0.5], "phases": [1, 2]}, "phases", "found 2 numbers, expected 1"),
        (Lru, {"value": "x", "magnitudes": [0.5], "part": "phase"}, "part", '"magnitude", "real", "imag", "both"'),
    ],
)
def test_a_wrong_option_is_named(make: Any, options: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        make(**options)
    assert caught.value.option == option
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("operator", "shapes", "option", "said"),
    [
        (
            GatedLinearAttention(**KV, gate="a"),
            {"gate": (2,)},
            "gate",
            "found 2 numbers, expected one number, or as many",
        ),
        (Mlstm(**KV, **GATES), {"forget_gate": (3,)}, "forget_gate", "found the vector 'f', expected a field with one"),
        (Mlstm(**KV, **GATES), {"input_gate": (3,)}, "input_gate", "found the vector 'x', expected a field with one"),
        (Retention(**KV, gamma=0.5), {"key": ()}, "key", "expected the name of a vector field"),
        (Rwkv(**KV), {"key": (2,)}, "key", "found 2 numbers, expected one, or as many as the value has"),
        (Rwkv(**KV, gamma=[0.5, 0.5]), {"key": ()}, "gamma", "found 2 numbers, expected one, or as many as the value"),
    ],
)
def test_inputs_that_do_not_fit_are_named(operator: Operator, shapes: dict[str, Any], option: str, said: str) -> None:
    with pytest.raises(OperatorError) as caught:
        operator.layout({"key": (3,), "value": (3,), "gate": (), "input_gate": (), "forget_gate": ()} | shapes)
    assert caught.value.option == option
    assert said in str(caught.value)
