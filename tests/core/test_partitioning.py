"""One key in two partitions."""

from __future__ import annotations

from operators.state.keys import KeyIndex
from pipeline.core.partitioning import Sightings


def test_a_key_that_a_sibling_has_is_evidence_once_it_is_new() -> None:
    here, other = KeyIndex[bytes](), KeyIndex[bytes]()
    sightings = Sightings(here)
    here.rows([b"a", b"b"])
    other.rows([b"c"])
    assert sightings.shared_with([other]) is None
    here.rows([b"b", b"d", b"c"])
    assert sightings.shared_with([KeyIndex[bytes](), other]) == b"c"


def test_a_key_is_compared_once_for_its_sibling_compares_its_own() -> None:
    here, other = KeyIndex[bytes](), KeyIndex[bytes]()
    here.rows([b"a"])
    assert Sightings(here).shared_with([other]) is None
    theirs = Sightings(other)
    other.rows([b"a"])
    assert theirs.shared_with([here]) == b"a"
