"""The memory of event ids, against a plain loop over all events."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Dedupe
from pipeline.core.batch import Ints
from pipeline.core.dedupe import PAGE_BYTES, Seen
from pipeline.core.hashing import hashes

Event = tuple[str, int, float, bool]
"""Its id, its offset, its time, and whether it is refused when it is tried."""


def oracle(events: list[Event], reach: int, seconds: float | None) -> list[bool]:
    """Whether each event is tried."""
    folded: dict[str, tuple[int, float]] = {}
    tried = []
    for name, offset, time, refused in events:
        before = folded.get(name)
        near = before is not None and offset - before[0] <= reach
        again = near and (seconds is None or abs(time - before[1]) <= seconds)  # type: ignore[index]
        tried.append(not again)
        if not again and not refused:
            folded[name] = offset, time
    return tried


def tried_by(seen: Seen, events: list[Event]) -> list[bool]:
    """Whether each event of a batch is tried."""
    names, offsets, times, refused = (list(column) for column in zip(*events, strict=True))
    seen.begin([b"k"] * len(names), [name.encode() for name in names], np.array(offsets), np.array(times))
    tried = folded(seen, np.arange(len(events)), refused)
    seen.settle()
    return tried


def folded(seen: Seen, index: Ints, refused: list[bool]) -> list[bool]:
    """Folded as a table folds: by halves where one is refused."""
    fresh = seen.fresh(index)
    if any(refused[n] for n in index[fresh].tolist()):
        if len(index) == 1:
            return [True]
        middle = len(index) // 2
        return folded(seen, index[:middle], refused) + folded(seen, index[middle:], refused)
    seen.remember(index[fresh])
    told: list[bool] = fresh.tolist()
    return told


WINDOWS: list[dict[str, Any]] = [
    {"window": 1},
    {"window": 5},
    {"window": 40},
    {"window": 1_000},
    {"window": "3s"},
    {"window": "3s", "max_events": 7},
    {"window": "1000s", "max_events": 60},
]

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 30).map(str),
        st.sampled_from([1, 1, 1, 1, 2, 40]),
        st.integers(0, 12).map(float),
        st.sampled_from([False] * 9 + [True]),
    ),
    min_size=1,
    max_size=200,
)


@settings(max_examples=300)
@given(EVENTS, st.sampled_from(WINDOWS), st.lists(st.integers(1, 50), min_size=1), st.integers(0, 3))
def test_it_is_what_a_plain_loop_finds_wherever_batches_and_restarts_fall(
    steps: list[tuple[str, int, float, bool]], window: dict[str, Any], sizes: list[int], restart: int
) -> None:
    dedupe = Dedupe("id", **window)
    offsets = np.cumsum([step for _, step, _, _ in steps]).tolist()
    events = [(name, offset, time, bad) for (name, _, time, bad), offset in zip(steps, offsets, strict=True)]
    seen, log, tried, at, turn = Seen(dedupe), dict[int, bytes](), list[bool](), 0, 0
    while at < len(events):
        size = sizes[turn % len(sizes)]
        tried += tried_by(seen, events[at : at + size])
        at, turn = at + size, turn + 1
        if turn % 4 == restart:
            log |= zip(*seen.take_changed(), strict=True)
            assert all(len(page) == PAGE_BYTES for page in log.values())
            seen = restored(dedupe, log)
            assert seen.take_changed() == ([], [])
    assert tried == oracle(events, dedupe.reach, dedupe.seconds)
    assert len(seen) <= dedupe.reach + 63


def restored(dedupe: Dedupe, log: dict[int, bytes]) -> Seen:
    seen = Seen(dedupe)
    seen.restore_pages(log.items())
    seen.restored()
    return seen


def fold(seen: Seen, names: list[str], first: int, times: list[float] | None = None) -> list[bool]:
    events = [(name, first + n, times[n] if times else 0.0, False) for n, name in enumerate(names)]
    return tried_by(seen, events)


@pytest.mark.parametrize(("before", "after"), [(1_000, 100), (100, 1_000)])
def test_another_window_goes_on_with_what_the_old_one_logged(before: int, after: int) -> None:
    seen = Seen(Dedupe("id", window=before))
    names = [str(n) for n in range(500)]
    fold(seen, names, 0)
    seen = restored(Dedupe("id", window=after), dict(zip(*seen.take_changed(), strict=True)))
    kept = min(before, after)
    assert fold(seen, names[-kept // 2 :], 500) == [False] * (kept // 2)
    assert fold(seen, names[:100], 900) == [True] * 100


@pytest.mark.parametrize(("before", "after", "first"), [(1_000, 700, 2_000), (300, 1_000, 3_000)])
def test_what_another_window_moves_in_the_ring_is_logged_before_it_is_overwritten(
    before: int, after: int, first: int
) -> None:
    seen, log, names = Seen(Dedupe("id", window=before)), dict[int, bytes](), [str(n) for n in range(500)]
    fold(seen, names, first)
    log |= zip(*seen.take_changed(), strict=True)
    for turn in range(3):
        seen = restored(Dedupe("id", window=after), log)
        assert fold(seen, [f"new {turn}"] * 20, first + 500 + 20 * turn) == [True] + [False] * 19
        log |= zip(*seen.take_changed(), strict=True)
    seen = restored(Dedupe("id", window=after), log)
    assert fold(seen, names[-200:], first + 560) == [False] * 200


@pytest.mark.parametrize("size", [1, 7, 400])
def test_an_id_that_comes_again_after_the_window_is_remembered_from_then_on(size: int) -> None:
    seen = Seen(Dedupe("id", window=40))
    names = [str(n) for n in range(400)]
    for turn in range(0, 400, 100):  # its first place in the ring is taken by another while the second is in the window
        names[turn] = names[turn + 60] = names[turn + 98] = "again"
    tried = [told for at in range(0, 400, size) for told in fold(seen, names[at : at + size], at)]
    assert tried == oracle([(name, n, 0.0, False) for n, name in enumerate(names)], 40, None)
    assert tried.count(False) == 7


def test_what_had_to_go_too_soon_is_counted() -> None:
    seen = Seen(Dedupe("id", window="10s", max_events=100))
    fold(seen, [str(n) for n in range(100)], 0, [n / 50 for n in range(100)])
    assert seen.take_forgotten() == 0
    fold(seen, [str(n) for n in range(100, 400)], 100, [n / 50 for n in range(100, 400)])
    assert 400 - 100 - 63 <= seen.take_forgotten() <= 300
    slow = Seen(Dedupe("id", window="1s", max_events=100))
    fold(slow, [str(n) for n in range(400)], 0, [float(n) for n in range(400)])
    assert slow.take_forgotten() == 0


def test_a_commit_writes_the_pages_that_changed_not_the_window() -> None:
    seen = Seen(Dedupe("id", window=100_000))
    fold(seen, [str(n) for n in range(50_000)], 0)
    assert len(seen.take_changed()[0]) == 50_000 // 32 + 1
    fold(seen, ["new"], 50_000)
    assert seen.take_changed()[0] == [50_000 // 32]
    fold(seen, ["new"], 50_001)
    assert seen.take_changed()[0] == []


def test_memory_is_bounded_whatever_the_ids_are() -> None:
    seen = Seen(Dedupe("id", window=1_000))
    sizes = []
    for n in range(40):
        fold(seen, [f"{n}-{m}" * 20 for m in range(500)], 500 * n)
        sizes.append(seen.nbytes)
    assert max(sizes[5:]) == sizes[5] < 1_000 * 400


def test_hashes_are_frozen() -> None:
    """They are in changelogs: another hash would make every remembered event new."""
    pairs = [
        (b"", b""),
        (b"ann", b"1"),
        (b"bob", UUID(int=7).bytes),
        (b"k" * 4_096, b"long"),
        ("\u00fc".encode(), b"\0"),
    ]
    assert [found.hex() for found in hashes(*zip(*pairs, strict=True))] == FROZEN


FROZEN = [
    "afcd1d7b39a820e2a85dfaca7f1da6ea",
    "74159ac335dc5685d7a103ba20274bdd",
    "ffa5620edced45944f522d39bc9f0148",
    "a754fd4aea4d0e24693f63d9cdf1ebed",
    "428dfe9188e36e8d26f87bafe34d0ee5",
]


def test_hashes_do_not_depend_on_what_is_beside_them() -> None:
    keys = [b"", b"a", b"ann-marie", b"k" * 63, b"k" * 65, b"k" * 4_000]
    ids = [b"", b"0", b"12345678", b"x" * 64, b"x" * 65, b"y" * 300]
    pairs = [(key, name) for key in keys for name in ids]
    together = hashes(*zip(*pairs, strict=True))
    assert together == [hashes([key], [name])[0] for key, name in pairs]
    assert len(set(together)) == len(pairs)


def test_near_pairs_have_different_hashes() -> None:
    pairs = [
        (b"ab", b"c"),
        (b"a", b"bc"),
        (b"", b"abc"),
        (b"abc", b""),
        (b"abc", b"\0"),
        (b"abc\0", b""),
        (b"a\0", b"bc"),
    ]
    assert len(set(hashes(*zip(*pairs, strict=True)))) == len(pairs)


@pytest.mark.parametrize("half", [slice(8), slice(8, 16)])
def test_each_half_of_a_hash_tells_many_ids_apart_and_spreads(half: slice) -> None:
    count = 200_000
    names = [b"order-%09d" % n for n in range(count)]
    halves = [found[half] for found in hashes([b"key"] * count, names)]
    assert len(set(halves)) == count
    bits = np.unpackbits(np.frombuffer(b"".join(halves), np.uint8)).reshape(count, 64)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.01
    flips = (bits[1:] ^ bits[:-1]).sum(axis=1)
    assert 31.5 < flips.mean() < 32.5
