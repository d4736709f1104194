"""Stretches of offsets, against a set of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.stretches import Stretches

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=12)


@given(st.integers(0, 20), SPANS)
def test_it_is_a_set_that_survives_its_text(start: int, spans: list[tuple[int, int]]) -> None:
    done, wanted = Stretches.of(start, ""), set(range(start))
    for low, length in spans:
        done.add(low, low + length)
        wanted |= set(range(low, low + length))
    for offset in range(80):
        assert (offset in done) == (offset in wanted)
        assert done.first_missing(offset) == next(n for n in range(offset, 99) if n not in wanted)
    position = done.first_missing(start)
    again = Stretches.of(position, done.text(position))
    assert [n in again for n in range(80)] == [n in wanted for n in range(80)]


def test_many_stretches_fit_what_kafka_keeps_with_an_offset() -> None:
    done = Stretches()
    for n in range(0, 20_000, 2):
        done.add(10**12 + n, 10**12 + n + 1)
    assert len(done.text(10**12 - 1)) < 500


@pytest.mark.parametrize("text", ["!", "AAAA", "eJwDAAAAAAE="])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whatever its words are
        Stretches.of(0, text)
