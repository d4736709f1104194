"""Weights that halve with event time: to the last digit, however long ago the first epoch is."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.epochs import advance, advance_at_once, epochs
from operators.columns.grouping import Groups, group

times = st.floats(-1e11, 1e11) | st.integers(0, 2**31).map(lambda ms: 1_700_000_000 + ms / 1000)
half_lives = st.floats(1e-3, 1e9) | st.sampled_from([0.3, 1.0, 60.0, 3600.0])
shortest = st.floats(1e-9, 1e-7)
"""So short that the epoch of a time of today is an integer of more digits than a double has."""


@given(times, st.lists(half_lives, min_size=1, max_size=3))
def test_a_weight_has_all_its_digits(time: float, lengths: list[float]) -> None:
    own, weight = epochs(np.array([time, 0.0]), np.array(lengths))
    for length, epoch, found in zip(lengths, own[0].tolist(), weight[0].tolist(), strict=True):
        exponent = Fraction(time) / Fraction(length) - epoch
        assert abs(exponent) <= 0.5 + 1e-5  # a quotient of so many digits is not rounded to the nearest in every case
        assert found == pytest.approx(math.exp2(exponent), rel=1e-15, abs=0)


@given(st.floats(1e9, 4e9), shortest)
def test_the_remainder_is_exact_where_the_epoch_has_more_digits_than_a_double(time: float, length: float) -> None:
    own, weight = epochs(np.array([time]), np.array([length]))
    exponent = float(Fraction(time) - Fraction(length) * own[0].item()) / length
    assert weight[0].item() == pytest.approx(math.exp2(exponent), rel=1e-15, abs=0)


@pytest.fixture
def batch() -> tuple[Groups, np.ndarray]:
    """Many events of some keys, with late ones, and the first of a key with a past that is newer than all of them."""
    rng = np.random.default_rng(5)
    _, groups = group(rng.integers(0, 20, 400))
    return groups, np.sort(rng.uniform(0, 1000, 400)) - rng.choice([0.0, 300.0], 400, p=[0.9, 0.1])


def test_all_at_once_comes_to_the_same_as_event_by_event(batch: tuple[Groups, np.ndarray]) -> None:
    groups, time = batch
    lengths, count = np.array([60.0, 7.3]), np.arange(len(groups.start)) % 2
    one = np.tile(np.array([5, 40]), (len(groups.start), 1))
    one[1] = 1_000
    other = one.copy()
    left, weight = advance(groups, one, count, time, lengths)
    all_left, in_units, unit = advance_at_once(groups, other, count, time, lengths)
    np.testing.assert_array_equal(one, other)
    held = count > 0  # there is nothing to leave of else
    np.testing.assert_array_equal(all_left[held], np.multiply.reduceat(left, groups.start, axis=0)[held])
    in_the_end = weight.copy()
    for first, last in zip(groups.start.tolist(), groups.last.tolist(), strict=True):
        for event in range(first, last):
            in_the_end[event] *= left[event + 1 : last + 1].prod(axis=0)
    np.testing.assert_array_equal(in_units * unit[groups.segment], in_the_end)
