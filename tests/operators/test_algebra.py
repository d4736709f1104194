"""Laws of the states themselves: they merge, take events back and become bytes just as their operator says.

After a merge or a retraction more events are folded, and their results compared with the formula over all events: so
nothing of the state is left out, be it a count, a slot of a ring or an epoch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import Memory, OperatorError
from operators.operator import Operator
from tests.operators.cases import Case
from tests.operators.catalogue import CASES
from tests.operators.driver import Driver, parts
from tests.operators.events import Events, some_events
from tests.operators.oracle import assert_close

KEYS = 3
MOST_BYTES = 1 << 24
TAKEN_BACK = 1e-11
"""The relative error allowed where sums are put together, or taken apart, in another way."""


def cases(*algebras: str) -> pytest.MarkDecorator:
    """A test of each case whose operator has one of these algebras."""
    chosen = [case for case in CASES if case.operator.algebra in algebras]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


def check_more(case: Case, before: Events, driver: Driver, rng: np.random.Generator) -> None:
    """The driver gives the results that the formula gives for events that follow those."""
    more = some_events(case, 40, KEYS, rng, after=before.times.max(initial=1.7e9))
    got = driver.fold(more.keys, more.columns, more.times)
    assert got is not None
    everything = before.then(more)
    everything.check(case, got, range(len(before), len(everything)), first=len(before))


def read_alike(case: Case, one: Driver, other: Driver) -> None:
    """Both give the same for the same query, or for none where there is no such thing.

    A prediction that was made before the newest event stays what it was, whatever came to the memory since then.
    """
    asks = "query" in type(case.operator).roles
    if not asks and getattr(case.operator, "readout", "after") == "before":
        return
    query = np.ones(case.shapes["key"]) if asks else None
    for name, part in parts(one.read(query)).items():
        assert_close(parts(other.read(query))[name], part, 100.0, max(case.tolerance, TAKEN_BACK))


def test_every_operator_says_how_its_states_combine_and_has_what_that_takes() -> None:
    for case in CASES:
        cls, algebra = type(case.operator), case.operator.algebra
        assert algebra in ("group", "monoid", "ordered", "none"), case.name
        rings = bool(case.operator.layout(case.shapes).rings)
        if algebra != "none":
            assert rings or cls.merge is not Operator.merge, case.name
        if algebra == "group":
            assert cls.retract is not Operator.retract, case.name


def test_counts_are_whole_numbers() -> None:
    for case in CASES:
        fields = {field.name: field.dtype for field in case.operator.layout(case.shapes).fields}
        for name in fields.keys() & {"count", "late", "epoch", "predicted"}:
            assert fields[name] == "<i8", (case.name, name)
        exported = case.driver().export()
        for name in exported.keys() & {"count", "late"}:
            assert type(exported[name]) is int, (case.name, name)


@cases("group", "monoid", "ordered")
@settings(max_examples=15)
@given(data=st.data())
def test_what_came_before_and_what_came_after_merge_to_all(case: Case, data: st.DataObject) -> None:
    n = data.draw(st.sampled_from([1, 2, 20, 300]))
    cut = data.draw(st.integers(0, n))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    events = some_events(case, n, KEYS, rng)
    first, second = (events.at(part).into(case.driver(KEYS)) for part in (slice(0, cut), slice(cut, n)))
    first.memory.merge(second.memory)
    read_alike(case, events.into(case.driver(KEYS)), first)
    check_more(case, events, first, rng)


@cases("group", "monoid")
@settings(max_examples=10)
@given(data=st.data())
def test_any_parts_merge_in_any_order(case: Case, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    events = some_events(case, data.draw(st.sampled_from([4, 30, 200])), KEYS, rng)
    part = rng.integers(0, 4, len(events))
    a, b, c, d = (events.at(np.flatnonzero(part == i)).into(case.driver(KEYS)) for i in rng.permutation(4))
    if data.draw(st.booleans()):
        a.memory.merge(b.memory)
        c.memory.merge(d.memory)
        a.memory.merge(c.memory)
    else:
        for other in (b, c, d):
            a.memory.merge(other.memory)
    read_alike(case, events.into(case.driver(KEYS)), a)
    check_more(case, events, a, rng)


@cases("ordered")
def test_runs_of_events_may_be_joined_from_either_end(case: Case) -> None:
    rng = np.random.default_rng(20)
    events = some_events(case, 400, KEYS, rng)
    runs = [slice(0, 30), slice(30, 330), slice(330, 400)]
    for from_the_left in (True, False):
        a, b, c = (events.at(run).into(case.driver(KEYS)) for run in runs)
        if from_the_left:
            a.memory.merge(b.memory)
        else:
            b.memory.merge(c.memory)
        a.memory.merge(c.memory if from_the_left else b.memory)
        check_more(case, events, a, rng)


@cases("group", "monoid", "ordered")
def test_a_memory_of_nothing_changes_nothing(case: Case) -> None:
    rng = np.random.default_rng(21)
    events = some_events(case, 50, 1, rng)
    driver, nothing = events.into(case.driver(2)), case.driver(2)
    nothing.fold(events.keys[:0], events.at(slice(0)).columns, events.times[:0])
    before = driver.memory.to_bytes()
    driver.memory.merge(nothing.memory)
    assert driver.memory.to_bytes() == before
    nothing.memory.merge(driver.memory)
    read_alike(case, driver, nothing)


@cases("group", "monoid", "ordered")
@pytest.mark.parametrize("keys", [1, 20_000])
def test_one_key_or_many_may_be_merged(case: Case, keys: int) -> None:
    keys = min(keys, max(1, MOST_BYTES // case.driver().size))
    rng = np.random.default_rng(22)
    first, second = (some_events(case, keys, keys, rng, after) for after in (1.7e9, 1.7e9 + keys))
    half = keys // 2
    first, second = (
        Events(who % keys, events.columns, events.times)
        for who, events in ((np.arange(keys), first), (np.arange(half, keys + half), second))
    )
    driver, both = first.into(case.driver(keys)), first.then(second)
    driver.memory.merge(second.into(case.driver(keys)).memory)
    read_alike(case, both.into(case.driver(keys)), driver)


@cases("group")
@settings(max_examples=15)
@given(data=st.data())
def test_events_taken_back_are_as_if_they_had_never_come(case: Case, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    events = some_events(case, data.draw(st.sampled_from([1, 10, 100])), KEYS, rng)
    taken = rng.random(len(events)) < 0.5
    kept, back = events.at(np.flatnonzero(~taken)), events.at(rng.permutation(np.flatnonzero(taken)))
    driver, half = events.into(case.driver(KEYS)), len(back) // 2
    for part in (back.at(slice(0, half)), back.at(slice(half, None))):
        driver.retract(part.keys, part.columns, part.times)
    read_alike(case, kept.into(case.driver(KEYS)), driver)
    # What is left keeps the roundings of the sums that it was a part of, which may have been much larger.
    check_more(replace(case, tolerance=max(case.tolerance, TAKEN_BACK)), kept, driver, rng)


@cases("group")
def test_a_key_that_gave_all_events_back_is_as_new(case: Case) -> None:
    rng = np.random.default_rng(23)
    events = some_events(case, 50, KEYS, rng)
    driver, new = events.into(case.driver(KEYS)), case.driver(KEYS)
    driver.retract(events.keys, events.columns, events.times)
    for name, array in new.fields.items():
        np.testing.assert_array_equal(driver.fields[name], array)


@cases("group")
def test_no_more_events_can_be_taken_back_than_there_were(case: Case) -> None:
    rng = np.random.default_rng(24)
    events = some_events(case, 2, 1, rng)
    driver = events.at(slice(0, 1)).into(case.driver())
    before = driver.memory.to_bytes()
    with pytest.raises(ValueError, match="more events of the key 0 are taken back than it had"):
        driver.retract(events.keys, events.columns, events.times)
    with pytest.raises(KeyError):
        driver.retract(events.keys + 1, events.columns, events.times)
    assert driver.memory.to_bytes() == before


@cases("none")
def test_states_that_do_not_combine_are_refused(case: Case) -> None:
    driver = some_events(case, 5, 1, np.random.default_rng(25)).into(case.driver())
    before = driver.memory.to_bytes()
    with pytest.raises(OperatorError, match="can't merge partial states: its algebra is 'none'"):
        driver.memory.merge(driver.memory)
    state = driver.memory.state()
    with pytest.raises(OperatorError, match="can't merge partial states"):
        case.operator.merge(state, state)
    assert driver.memory.to_bytes() == before


@cases("monoid", "ordered", "none")
def test_what_is_no_group_takes_nothing_back(case: Case) -> None:
    events = some_events(case, 5, 1, np.random.default_rng(26))
    driver = events.into(case.driver())
    with pytest.raises(OperatorError, match=f"can't take events back: its algebra is '{case.operator.algebra}'"):
        driver.retract(events.keys, events.columns, events.times)


@cases("group", "monoid", "ordered", "none")
@pytest.mark.parametrize("keys", [0, 1, 20_000])
def test_bytes_hold_every_bit(case: Case, keys: int) -> None:
    rng = np.random.default_rng(27)
    keys = min(keys, max(1, MOST_BYTES // case.driver().size))
    events = some_events(case, 2 * keys, max(keys, 1), rng)
    driver = Events(np.arange(2 * keys) % max(keys, 1), events.columns, events.times).into(case.driver(keys))
    raw = driver.memory.to_bytes()
    restored = Memory.from_bytes(raw, case.operator)
    assert restored.to_bytes() == raw
    assert restored.keys == driver.memory.keys
    for name, array in driver.memory.state().fields.items():
        assert restored.state().fields[name].tobytes() == array.tobytes()
    for role, ring in driver.memory.state().rings.items():
        assert restored.state().rings[role].array[:keys].tobytes() == ring.array[:keys].tobytes()
