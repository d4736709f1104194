"""Keys of several parts: joined, taken apart again, and never one key for different parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.keys import join, split

PARTS = st.text(st.sampled_from("ab/~01é"), max_size=5) | st.text(max_size=3)
ROWS = st.integers(1, 4).flatmap(lambda count: st.lists(st.tuples(*[PARTS] * count), min_size=1))


def joined(rows: list[tuple[str, ...]]) -> list[bytes]:
    return join([[part.encode() for part in column] for column in zip(*rows, strict=True)])


@given(ROWS)
def test_what_is_joined_comes_apart_as_it_was(rows: list[tuple[str, ...]]) -> None:
    keys = joined(rows)
    assert list(zip(*split([key.decode() for key in keys], len(rows[0])), strict=True)) == rows
    assert len(set(keys)) == len(set(rows))


@given(ROWS)
def test_a_key_does_not_depend_on_what_it_is_joined_with(rows: list[tuple[str, ...]]) -> None:
    assert joined(rows) == [key for row in rows for key in joined([row])]


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("north", "temp"), b"north/temp"),
        (("a/b", "c"), b"a~1b/c"),
        (("a", "b/c"), b"a/b~1c"),
        (("~1", ""), b"~01/"),
        (("", "", ""), b"//"),
        (("~",), b"~0"),
        (("/é",), "~1é".encode()),
    ],
)
def test_parts_are_joined_as_tokens_of_a_json_pointer(parts: tuple[str, ...], key: bytes) -> None:
    assert joined([parts]) == [key]


def test_no_keys() -> None:
    assert join([[], []]) == []
    assert split([], 2) == [(), ()]
