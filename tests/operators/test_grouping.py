"""Grouping, the blocks that runs are laid out in, and scans over them."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.grouping import Block, Groups, group
from operators.columns.history import stretches
from operators.columns.parallel_scan import Parts, scan
from operators.columns.scan import running, running_max, running_sums, two_sum
from operators.columns.waves import stable_order
from operators.operator import RingView

rows_of_events = st.lists(st.sampled_from([0, 1, 2, 3, 7, 65_535, 65_536, 2**31, 2**32 - 1]), max_size=60).map(
    lambda rows: np.array(rows, np.int64)
)


@given(rows_of_events)
def test_the_order_is_that_of_a_stable_sort(rows: np.ndarray) -> None:
    order, ordered = stable_order(rows)
    np.testing.assert_array_equal(order, np.argsort(rows, kind="stable"))
    np.testing.assert_array_equal(ordered, rows[order])


@pytest.mark.parametrize("rows", [10, 65_536, 65_537, 2**32])
def test_the_order_of_many_events_is_that_of_a_stable_sort(rows: int) -> None:
    many = np.random.default_rng(0).choice(np.random.default_rng(1).integers(0, rows, 500), 20_000)
    order, ordered = stable_order(many)
    np.testing.assert_array_equal(order, np.argsort(many, kind="stable"))
    np.testing.assert_array_equal(ordered, many[order])


@given(rows_of_events)
def test_groups_are_runs_of_equal_rows(rows: np.ndarray) -> None:
    distinct, groups = group(rows)
    ordered = rows[groups.order]
    np.testing.assert_array_equal(distinct, np.unique(rows))
    np.testing.assert_array_equal(ordered, distinct[groups.segment])
    np.testing.assert_array_equal(groups.start + groups.count - 1, groups.last)
    np.testing.assert_array_equal(groups.start[groups.segment] + groups.position, np.arange(len(rows)))
    np.testing.assert_array_equal(np.bincount(groups.segment, minlength=len(distinct)), groups.count)
    before = np.arange(len(distinct)) * 10
    np.testing.assert_array_equal(groups.ordinals(before), [10 * g + p + 1 for g, p in _places(groups)])


@given(rows_of_events, st.integers(1, 5), st.integers(0, 3), st.data())
def test_each_event_has_its_place_in_a_ring_whose_last_slots_are_not_used(
    rows: np.ndarray, length: int, unused: int, data: st.DataObject
) -> None:
    distinct, groups = group(rows % 1_000)
    stride, before = length + unused, np.array([data.draw(st.integers(0, 20)) for _ in distinct], np.int64)
    ring_of, number_of = distinct[groups.segment] * stride, before[groups.segment] + groups.position
    for _ in range(2):  # the second time they are known
        places = groups.places(distinct, before, length, stride)
        np.testing.assert_array_equal(places, ring_of + number_of % length)
    np.testing.assert_array_equal(groups.places(distinct + 1, before, length, stride), places + stride)
    np.testing.assert_array_equal(groups.places(distinct, before + length, length, stride), places)


def _places(groups: Groups) -> list[tuple[int, int]]:
    return list(zip(groups.segment.tolist(), groups.position.tolist(), strict=True))


def _check(block: Block, groups: Groups, first: int) -> list[int]:
    """The block's own events, each at the rank and in the column it belongs to."""
    flat = block.events.reshape(-1)
    own = flat if block.inside is None else flat[block.inside]
    np.testing.assert_array_equal(own, block.own)
    for column, (g, last) in enumerate(zip(block.groups.tolist(), block.last.tolist(), strict=True)):
        start = int(groups.start[g]) + first
        np.testing.assert_array_equal(block.events[: last + 1, column], start + np.arange(last + 1))
    return [int(event) for event in own]


@given(st.lists(st.integers(0, 5), max_size=200).map(lambda rows: np.array(rows, np.int64)))
def test_every_event_is_in_one_block(rows: np.ndarray) -> None:
    _, groups = group(rows)
    seen = [event for block in groups.blocks for event in _check(block, groups, 0)]
    assert sorted(seen) == list(range(len(rows)))


@given(st.lists(st.integers(0, 5), max_size=200).map(lambda rows: np.array(rows, np.int64)), st.integers(1, 9))
def test_pieces_come_in_order_and_within_bounds(rows: np.ndarray, length: int) -> None:
    _, groups = group(rows)
    done = np.zeros(6, int)
    seen = []
    for block in groups.pieces(length, width=2):
        assert block.events.shape[0] <= length
        assert block.events.shape[1] <= 2
        assert block.last.min() >= 0, "a group with nothing left has no run"
        seen += _check(block, groups, int(done[block.groups[0]]))
        done[block.groups] += block.last + 1
    assert sorted(seen) == list(range(len(rows)))


def test_put_and_final_leave_out_the_filling() -> None:
    _, groups = group(np.array([0, 0, 0, 1, 1, 1, 1, 2]))
    out = np.zeros(8)
    for block in groups.blocks:
        results = groups.position[block.events].astype(float)
        np.testing.assert_array_equal(block.final(results), groups.count[block.groups] - 1)
        block.put(results, out)
    np.testing.assert_array_equal(out, groups.position)


_RNG = np.random.default_rng(7)
SHAPES = {
    "none": np.zeros(0, np.int64),
    "one event": np.array([3]),
    "one hot key": np.zeros(1000, np.int64),
    "all distinct": _RNG.permutation(700),
    "one event or many": np.concatenate([np.arange(300), np.repeat([0, 1], 40)]),
    "few keys": _RNG.integers(0, 5, 900),
    "many keys": _RNG.integers(0, 400, 3000),
    "some hot keys": np.concatenate([np.arange(300), _RNG.integers(0, 3, 2000), np.repeat(np.arange(60), 40)]),
    "all lengths": np.repeat(np.arange(90), np.arange(90) ** 2 // 60),
}
every_shape = pytest.mark.parametrize("rows", SHAPES.values(), ids=SHAPES.keys())


_PRIME = 10007


def _one_then_the_other(older: Parts, newer: Parts) -> Parts:
    """The maps x -> a x + b (mod p): an operation whose order matters."""
    (a, b), (c, d) = older, newer
    return a * c % _PRIME, (b * c + d) % _PRIME


@every_shape
@pytest.mark.parametrize("each", [True, False])
def test_a_scan_combines_the_events_of_every_key_in_their_order(rows: np.ndarray, each: bool) -> None:
    _, groups = group(rows)
    a, b = np.random.default_rng(8).integers(0, _PRIME, (2, len(rows)))
    expected: list[tuple[int, int]] = []
    for event, position in enumerate(np.asarray(groups.position).tolist()):
        before, own = expected[-1] if position else (1, 0), (int(a[event]), int(b[event]))
        expected.append((before[0] * own[0] % _PRIME, (before[1] * own[0] + own[1]) % _PRIME))
    after = np.array(expected, np.int64).reshape(-1, 2)
    found = np.stack(scan(groups, _one_then_the_other, (a, b), each=each), axis=1)
    np.testing.assert_array_equal(found, after if each else after[groups.last])


@every_shape
@pytest.mark.parametrize("numbers", [1, 5, 1000])
def test_waves_hold_every_event_once_behind_those_before_it(rows: np.ndarray, numbers: int) -> None:
    _, groups = group(rows)
    waves = groups.waves(numbers)
    own = np.arange(len(rows)) if waves.own is None else waves.own
    np.testing.assert_array_equal(np.sort(waves.events[own]), np.arange(len(rows)))
    np.testing.assert_array_equal(waves.events[waves.last], groups.last[waves.groups])
    np.testing.assert_array_equal(np.sort(waves.groups), np.arange(len(groups.start)))
    for rank, (begin, end) in enumerate(pairwise(waves.edges)):
        np.testing.assert_array_equal(waves.events[begin:end], groups.start[waves.groups[: end - begin]] + rank)
    np.testing.assert_array_equal(waves.put(np.asarray(groups.position)[waves.events]), groups.position)


@every_shape
@pytest.mark.parametrize("tail", [(), (2,)], ids=["numbers", "vectors"])
def test_a_scan_goes_event_by_event_from_what_was_there(rows: np.ndarray, tail: tuple[int, ...]) -> None:
    rng = np.random.default_rng(8)
    _, groups = group(rows)
    values = rng.normal(size=(len(rows), *tail)) * 10.0 ** rng.integers(-20, 20, (len(rows), *tail))
    initial = rng.normal(size=(len(groups.start), *tail))
    high, low, newest = initial.copy(), initial * 1e-20, initial.copy()
    for event, g in enumerate(groups.segment.tolist()):
        if event == groups.start[g]:
            total, lost = high[g], low[g]
        total, error = two_sum(total, values[event])
        lost = lost + error
        newest[g] = np.fmin(newest[g], values[event])
        if event == groups.last[g]:
            high[g], low[g] = total, lost
    sums = initial.copy(), initial * 1e-20
    running_sums(groups, *sums, values, each=True)
    np.testing.assert_array_equal(sums, (high, low))
    final = initial.copy(), initial * 1e-20
    running_sums(groups, *final, values, each=False)
    np.testing.assert_array_equal(final[0] + final[1], high + low)
    smallest = running(np.minimum, groups, initial, values)
    np.testing.assert_array_equal(smallest[groups.last], newest)


@every_shape
@pytest.mark.parametrize("numbers", [1, 5, 50, 10**6])
def test_stretches_of_waves_hand_on_what_there_is_after_them(rows: np.ndarray, numbers: int) -> None:
    _, groups = group(rows)
    waves, values = groups.waves(numbers), np.random.default_rng(9).normal(size=len(rows))
    given, initial = values[waves.events], np.arange(len(groups.start), dtype=float)
    newest, parts = initial[waves.groups], [(values[:0], values[:0])]
    for stretch in waves.stretches:
        after = stretch.accumulate(np.add, newest, given[stretch.places])
        parts.append((stretch.preceding(newest, after), after))
        stretch.keep(newest, after)
    before, after = (waves.put(np.concatenate(part)) for part in zip(*parts, strict=True))
    np.testing.assert_array_equal(before + values, after)
    np.testing.assert_array_equal(before[groups.start], initial)
    follow = np.flatnonzero(groups.position)
    np.testing.assert_array_equal(before[follow], after[follow - 1])
    np.testing.assert_array_equal(newest, after[groups.last[waves.groups]])


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_two_sum_loses_nothing(a: float, b: float) -> None:
    total, error = two_sum(np.array(a), np.array(b))
    assert Fraction(float(total)) + Fraction(float(error)) == Fraction(a) + Fraction(b)


@pytest.mark.parametrize("length", [1, 3, 8, 9, 500])
def test_running_sums_beside_a_huge_key(length: int) -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat([0, 1, 2], length)
    _, groups = group(rows)
    terms = np.concatenate([rng.uniform(1e12, 2e12, length), rng.uniform(1e-3, 2e-3, length), rng.normal(size=length)])
    high, low = np.zeros(3), np.zeros(3)
    running = running_sums(groups, high, low, terms, each=True)
    assert running is not None
    for event in range(3 * length):
        run = terms[groups.start[groups.segment[event]] : event + 1]
        assert running[0][event] + running[1][event] == pytest.approx(math.fsum(run), rel=3e-16)
    np.testing.assert_array_equal(high, running[0][groups.last])
    np.testing.assert_array_equal(low, running[1][groups.last])


def test_running_max_starts_anew_with_each_group() -> None:
    _, groups = group(np.array([0, 0, 0, 1, 1, 2]))
    np.testing.assert_array_equal(running_max(groups, np.array([3, 9, 4, 1, 2, -5])), [3, 9, 9, 1, 2, -5])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 9))
def test_stretches_continue_the_rings(given_rows: list[int], reach: int) -> None:
    rows, groups = group(np.array(given_rows))
    before = rows * 2
    length = 9
    rings = np.full((7, length), np.nan)
    for row in range(7):
        for n in range(2 * row):
            rings[row, n % length] = 100 * row + n
    column = np.asarray(100 * rows[groups.segment] + groups.ordinals(before) - 1, float)
    events = 0
    for stretch in stretches(groups, before, reach):
        line = stretch.lay_out(RingView(rings, rows), column)
        for i, at in enumerate(stretch.at.tolist()):
            event = stretch.events.start + i
            for back in range(reach + 1):
                nth = int(groups.ordinals(before)[event]) - 1 - back
                wanted = 100 * rows[groups.segment[event]] + nth if nth >= 0 else 0
                if nth >= int(before[groups.segment[event]]) - reach or nth < 0:
                    assert line[at - back] == wanted
        events += len(stretch.at)
    assert events == len(given_rows)


@pytest.mark.parametrize("shape", [(), (3,)], ids=["numbers", "vectors"])
@pytest.mark.parametrize("used", [8, 5], ids=["whole", "slots left over"])
def test_the_inputs_of_rings(shape: tuple[int, ...], used: int) -> None:
    rng = np.random.default_rng(13)
    array = rng.normal(size=(4, 8, *shape))[:, :used]
    rows, slots = rng.integers(0, 4, 50), rng.integers(0, used, 50)
    found = RingView(array, np.arange(4)).inputs(rows * 8 + slots)
    np.testing.assert_array_equal(found, np.array([array[r, s] for r, s in zip(rows, slots, strict=True)]))


@every_shape
@pytest.mark.parametrize("decades", [0, 30, 290])
@pytest.mark.parametrize("tail", [(), (2,)], ids=["numbers", "vectors"])
def test_what_is_added_at_once_is_the_exact_sum(rows: np.ndarray, decades: int, tail: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    _, groups = group(rows)
    terms = rng.normal(size=(len(rows), *tail)) * 10.0 ** rng.integers(-decades, decades + 1, (len(rows), *tail))
    initial = rng.normal(size=(len(groups.start), *tail))
    high, low = initial.copy(), np.zeros_like(initial)
    running_sums(groups, high, low, terms, terms * 2.0**-60, each=False)
    for g, (start, count) in enumerate(zip(groups.start.tolist(), groups.count.tolist(), strict=True)):
        run = terms[start : start + count]
        for at in np.ndindex(tail):
            own = run[(slice(None), *at)].tolist()
            size = math.fsum(map(abs, own)) + abs(initial[(g, *at)])
            kept = high[(g, *at)], low[(g, *at)]
            left = math.fsum([initial[(g, *at)], *own, *(x * 2.0**-60 for x in own), -kept[0], -kept[1]])
            assert abs(left) <= 2.0**-85 * size


def test_what_is_known_to_be_small_is_added_as_exactly() -> None:
    rng = np.random.default_rng(14)
    _, groups = group(np.sort(rng.integers(0, 3, 30_000)))
    terms = rng.uniform(0.5, 2.0, 30_000)
    high, low = np.zeros(3), np.zeros(3)
    running_sums(groups, high, low, terms, each=False, power=1)
    for g, (start, count) in enumerate(zip(groups.start.tolist(), groups.count.tolist(), strict=True)):
        left = math.fsum([*terms[start : start + count].tolist(), -high[g], -low[g]])
        assert abs(left) <= 2.0**-75 * high[g]


@every_shape
@pytest.mark.parametrize("apart", [15, 17, 40])
def test_a_key_of_small_numbers_keeps_its_digits_when_all_are_added_at_once(rows: np.ndarray, apart: int) -> None:
    rng = np.random.default_rng(12)
    _, groups = group(rows)
    terms = rng.uniform(1, 2, len(rows)) * rng.integers(0, 2, len(rows))  # zeros among them
    terms[groups.segment % 2 == 1] *= 2.0**-apart
    high, low = np.zeros(len(groups.start)), np.zeros(len(groups.start))
    running_sums(groups, high, low, terms, each=False)
    for g, (start, count) in enumerate(zip(groups.start.tolist(), groups.count.tolist(), strict=True)):
        run = terms[start : start + count].tolist()
        assert abs(math.fsum([*run, -high[g], -low[g]])) <= 2.0**-75 * math.fsum(run)


def test_numbers_too_large_to_be_added_at_once_are_added_one_by_one() -> None:
    _, groups = group(np.zeros(4, np.int64))
    high, low = np.zeros(1), np.zeros(1)
    assert running_sums(groups, high, low, np.array([1.5e308, -1.5e308, 1.0, 2.0**-60]), each=False) is None
    assert (high.tolist(), low.tolist()) == ([1.0], [2.0**-60])


def test_numbers_that_are_all_too_large_to_be_added_at_once_are_added_one_by_one() -> None:
    _, groups = group(np.zeros(4, np.int64))
    high, low = np.zeros(1), np.zeros(1)
    assert running_sums(groups, high, low, np.array([1.5e308, -1.5e308, 1e308, -1e308]), each=False) is None
    assert (high.tolist(), low.tolist()) == ([0.0], [0.0])
