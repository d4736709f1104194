"""Laws that every operator keeps, whatever it computes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import TYPES
from operators.operator import Readout
from operators.pairs.key_value import Attention
from tests.operators.cases import Case, zipf_keys
from tests.operators.catalogue import CASES
from tests.operators.driver import parts
from tests.operators.events import Events
from tests.operators.oracle import assert_close

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_type_is_tried() -> None:
    assert {type(case.operator) for case in CASES} >= set(TYPES.values())


def assert_same(case: Case, got: Readout, wanted: Readout, size: float) -> None:
    """The same bits where the operator claims that, else equal but for rounding."""
    for name, part in parts(wanted).items():
        if case.same_bits:
            np.testing.assert_array_equal(parts(got)[name], part)
        else:
            assert_close(parts(got)[name], part, size, case.tolerance)


@every_case
def test_every_result_is_that_of_the_formula(case: Case) -> None:
    rng = np.random.default_rng(1)
    keys, columns = zipf_keys(600, 9, rng), case.columns(600, rng)
    times = 1.7e9 + np.cumsum(rng.exponential(1.0, 600)) - 10.0 * (rng.random(600) < 0.1)
    events = Events(keys, columns, times)
    events.check(case, events.fold(case, [1, 2, 3, 50, 50, 51, 300], keys=9), range(600))


@every_case
@settings(max_examples=40)
@given(data=st.data())
def test_batches_may_be_cut_anywhere(case: Case, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 80))
    keys = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=5))
    columns = {}
    for role, shape in case.shapes.items():
        size = n * int(np.prod(shape, dtype=int))
        values = st.floats(*case.ranges.get(role, (-100, 100))).map(lambda x: round(x, 3))
        drawn = data.draw(st.lists(values, min_size=size, max_size=size))
        columns[role] = np.reshape(np.array(drawn), (n, *shape))
    times = np.array(data.draw(st.lists(st.floats(0, 1e4), min_size=n, max_size=n)))
    events = Events(keys, columns, times)
    many = events.fold(case, cuts, keys=4)
    if case.same_bits:
        assert_same(case, many, events.fold(case, keys=4), 0.0)
    events.check(case, many, range(n))


@every_case
def test_the_events_of_all_batches_are_counted(case: Case) -> None:
    rng = np.random.default_rng(5)
    keys, columns = zipf_keys(300, 9, rng), case.columns(300, rng)
    driver = case.driver(9)
    for number, (start, stop) in enumerate(pairwise((0, 100, 101, 300))):
        part = {role: column[start:stop] for role, column in columns.items()}
        driver.fold(keys[start:stop], part, each=number % 2 == 0)
    count = driver.fields.get("count")
    if count is not None:
        np.testing.assert_array_equal(count, np.bincount(keys, minlength=9))


@every_case
def test_a_read_gives_the_last_result_again(case: Case) -> None:
    rng = np.random.default_rng(2)
    keys, columns = zipf_keys(3000, 40, rng), case.columns(3000, rng)
    driver = case.driver(40)
    got = driver.fold(keys, columns)
    assert got is not None
    seen = np.unique(keys)
    last = np.array([np.flatnonzero(keys == key)[-1] for key in seen])
    read = driver.read()
    for name, part in parts(got).items():
        assert_close(parts(read)[name][seen], part[last], 10.0)


@every_case
def test_asking_for_no_results_leaves_a_state_that_reads_the_same(case: Case) -> None:
    rng = np.random.default_rng(3)
    keys, columns = zipf_keys(2000, 30, rng), case.columns(2000, rng)
    each, final = case.driver(30), case.driver(30)
    size = max(float(np.abs(column).max()) ** case.factors for column in columns.values()) if columns else 1.0
    for start, stop in pairwise((0, 1, 40, 900, 2000)):
        part = {role: column[start:stop] for role, column in columns.items()}
        each.fold(keys[start:stop], part)
        assert final.fold(keys[start:stop], part, each=False) is None
        assert_same(case, final.read(), each.read(), size)
    after = (keys[:300], {role: column[:300] for role, column in columns.items()})
    got, wanted = final.fold(*after), each.fold(*after)
    assert got is not None
    assert wanted is not None
    assert_same(case, got, wanted, size)
    for name, array in each.fields.items():
        if array.dtype.kind != "f":
            np.testing.assert_array_equal(final.fields[name], array)


@every_case
def test_keys_do_not_touch_each_other(case: Case) -> None:
    rng = np.random.default_rng(4)
    keys, columns = zipf_keys(500, 12, rng), case.columns(500, rng)
    times = np.arange(500.0)
    together = case.driver(12).fold(keys, columns, times)
    assert together is not None
    for key in np.unique(keys):
        own = np.flatnonzero(keys == key)
        alone = case.driver().fold(np.zeros(len(own), int), {r: c[own] for r, c in columns.items()}, times[own])
        assert alone is not None
        for name, part in parts(alone).items():
            assert_close(parts(together)[name][own], part, 10.0)


@every_case
def test_key_numbers_do_not_matter(case: Case) -> None:
    rng = np.random.default_rng(5)
    keys, columns = zipf_keys(800, 25, rng), case.columns(800, rng)
    renamed = rng.permutation(25)[keys]
    one, other = case.driver(25).fold(keys, columns), case.driver(25).fold(renamed, columns)
    assert one is not None
    assert other is not None
    assert_same(case, other, one, 10.0)


@every_case
@pytest.mark.parametrize("spread", [1, 10_000], ids=["one hot key", "many keys"])
def test_20_000_events_at_once(case: Case, spread: int) -> None:
    rng = np.random.default_rng(6)
    n = 20_000
    events = Events(zipf_keys(n, spread, rng), case.columns(n, rng), 0.01 * np.arange(n, dtype=float))
    events.check(case, events.fold(case, keys=spread), [0, 1, 7, 63, 64, 65, 1000, 9999, n - 1])


@every_case
def test_an_empty_batch_changes_nothing(case: Case) -> None:
    driver = case.driver(2)
    driver.fold([1], {role: np.ones((1, *shape)) for role, shape in case.shapes.items()})
    before = driver.restored()
    nothing = {role: np.ones((0, *shape)) for role, shape in case.shapes.items()}
    got = driver.fold([], nothing)
    assert got is not None
    assert all(len(part) == 0 for part in parts(got).values())
    assert driver.fold([], nothing, each=False) is None
    for name, array in before.fields.items():
        np.testing.assert_array_equal(driver.fields[name], array)


@every_case
def test_no_events_no_result(case: Case) -> None:
    for part in parts(case.driver(2).read()).values():
        assert part.shape[0] == 2
        np.testing.assert_array_equal(part, np.full_like(part, case.empty))


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case.operator, Attention)], ids=lambda case: case.name
)
def test_a_memory_without_events_answers_no_query(case: Case) -> None:
    driver = case.driver(2)
    driver.fold([1], {role: np.full((1, *shape), 0.5) for role, shape in case.shapes.items()})
    answer = parts(driver.read(np.full((2, 3), 0.5)))
    for name, (unseen, seen) in answer.items():
        assert np.isnan(unseen).all()
        assert np.isfinite(seen).all() or name == "error"


@every_case
def test_the_state_does_not_grow(case: Case) -> None:
    rng = np.random.default_rng(7)
    driver = case.driver()
    driver.fold([0], case.columns(1, rng))
    size = driver.nbytes
    driver.fold(np.zeros(10_000, int), case.columns(10_000, rng), each=False)
    assert driver.nbytes == size


@every_case
def test_a_restored_state_goes_on_the_same(case: Case) -> None:
    rng = np.random.default_rng(8)
    keys, columns, times = zipf_keys(1000, 20, rng), case.columns(1000, rng), np.arange(1000.0)
    first, second = slice(0, 600), slice(600, 1000)
    driver = case.driver(20)
    driver.fold(keys[first], {role: column[first] for role, column in columns.items()}, times[first])
    other = driver.restored()
    rest = {role: column[second] for role, column in columns.items()}
    one, two = driver.fold(keys[second], rest, times[second]), other.fold(keys[second], rest, times[second])
    assert one is not None
    assert two is not None
    for name, part in parts(one).items():
        np.testing.assert_array_equal(parts(two)[name], part)
    assert driver.export(3) == other.export(3)


@pytest.mark.parametrize("case", [case for case in CASES if case.any_order], ids=lambda case: case.name)
def test_events_may_come_in_any_order(case: Case) -> None:
    rng = np.random.default_rng(9)
    columns, times = case.columns(500, rng), 1.7e9 + np.sort(rng.uniform(0, 60, 500))
    columns = {role: np.abs(column) for role, column in columns.items()}
    order = rng.permutation(500)
    query = np.ones((1, 3)) if "key" in case.shapes else None
    reads = []
    for places in (np.arange(500), order):
        driver = case.driver()
        driver.fold_in_batches(
            np.zeros(500, int), {r: c[places] for r, c in columns.items()}, times[places], [100, 101, 350]
        )
        reads.append(driver.read(query))
    for name, part in parts(reads[0]).items():
        assert_close(parts(reads[1])[name], part, 1.0)


@every_case
def test_all_magnitudes_at_once(case: Case) -> None:
    rng = np.random.default_rng(10)
    n, keys = 300, 3
    decades = 290 // case.factors
    who = rng.integers(0, keys, n)
    columns = {
        role: rng.choice([-1.0, 1.0], (n, *shape)) * 10.0 ** rng.uniform(-decades, decades, (n, *shape))
        for role, shape in case.shapes.items()
    }
    columns |= {role: column for role, column in case.columns(n, rng).items() if role in case.ranges}
    columns = {role: np.abs(column) if role in ("key", "query") else column for role, column in columns.items()}
    events = Events(who, columns, np.arange(float(n)))
    got = events.fold(case, [5, 100, 101, 299], keys)
    events.check(case, got, range(n))


@pytest.mark.parametrize("case", [case for case in CASES if case.forgets], ids=lambda case: case.name)
@pytest.mark.parametrize("spike", [1e15, 1e300])
def test_a_spike_leaves_no_trace_in_a_window(case: Case, spike: float) -> None:
    rng = np.random.default_rng(11)
    n = 1200
    columns = case.columns(n, rng)
    columns["value"][300] = spike
    columns["value"][301] = spike ** (2 / 3)
    events = Events(np.zeros(n, int), columns, np.arange(float(n)))
    for cuts in ([], [300, 301, 302], range(n)):
        events.check(case, events.fold(case, cuts), range(295, n, 3))


@every_case
def test_a_level_of_1e9_keeps_the_small_digits(case: Case) -> None:
    rng = np.random.default_rng(12)
    n = 3000
    columns = case.columns(n, rng)
    if "value" in columns:
        columns["value"] += np.where(np.arange(n) < 1000, 0.0, 1e9).reshape((-1, *(1,) * (columns["value"].ndim - 1)))
    columns = {role: np.abs(column) if role in ("key", "query") else column for role, column in columns.items()}
    events = Events(np.zeros(n, int), columns, 0.1 * np.arange(n, dtype=float))
    events.check(case, events.fold(case, [999, 1000, 2500]), [0, 998, 999, 1000, 1001, 1500, n - 1])


@pytest.mark.parametrize("case", [case for case in CASES if case.tenths is not None], ids=lambda case: case.name)
def test_a_million_times_a_tenth(case: Case) -> None:
    driver, left = case.driver(), 1_000_001
    while left:
        size = min(left, 20_000)
        columns = {role: np.full((size, *shape), 0.1) for role, shape in case.shapes.items()}
        driver.fold(np.zeros(size, int), columns, 1000.0 + np.arange(left, left - size, -1.0), each=False)
        left -= size
    wanted = case.tenths if isinstance(case.tenths, Mapping) else {"": case.tenths}
    got = parts(driver.read())
    assert got.keys() == wanted.keys()
    for name, part in got.items():
        np.testing.assert_allclose(part, np.full_like(part, wanted[name]), rtol=1e-12, atol=1e-13)
