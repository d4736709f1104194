"""Which key has which row."""

from __future__ import annotations

from operators.state.keys import KeyIndex


def test_rows_that_are_free_are_given_out_again_and_every_birth_is_counted() -> None:
    index = KeyIndex[str]()
    assert index.rows(["a", "b", "a", "c"]).tolist() == [0, 1, 0, 2]
    assert (index.born, index.span) == (3, 3)
    index.drop(["b", "a"])
    assert (index.born, index.span, len(index)) == (3, 3, 1)
    assert sorted(index.rows(["a", "d"]).tolist()) == [0, 1]
    assert (index.born, index.span, len(index)) == (5, 3, 3)
    assert index.newest(2) == ["d", "a"]
    index.drop(["c"])
    assert (index.born, len(index)) == (5, 2)
