"""Duplicates by event id, against a plain loop over all events."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import Count, MovingMean, Sum
from operators.operator import Batch, State
from pipeline import App, Dedupe, Stream, Table
from pipeline.core.batch import Floats, Ints, WireBatch
from pipeline.core.dedupe import PAGE_BYTES, Seen
from pipeline.core.hashing import hashes
from pipeline.core.partition import Cut, Identity, Partition

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


# In a table


@dataclass(frozen=True, kw_only=True)
class Fussy(Sum):
    """Raises on 13."""

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        if (batch.columns["value"] == 13).any():
            raise ArithmeticError("thirteen")
        return super().fold(state, batch, each=each)


OPERATORS: dict[str, Any] = {"games": Count(), "total": Fussy(value="x"), "last": MovingMean(value="x", window=3)}
STREAM = Stream("scores", topic="scores", time="ts")
IDENTITY = Identity("streamfold/app/scores/0", "source-id", {"player": "log-id"}, 0, 1_000_000)


def partition_of(**options: Any) -> Partition:
    table = Table("player", STREAM, OPERATORS | options.pop("operators", {}), **options)
    return Partition(App("app", [table]), STREAM, 0, 1)


def started(**options: Any) -> Partition:
    made = partition_of(**options)
    made.resume(0, IDENTITY)
    return made


def batch(events: Sequence[object], first: int = 0) -> WireBatch:
    """Of (key, id, x, ts), or of the raw value for key k."""
    values = [
        json.dumps(dict(zip(("id", "x", "ts"), event[1:], strict=True))).encode() if isinstance(event, tuple) else event
        for event in events
    ]
    keys: list[bytes | None] = [event[0].encode() if isinstance(event, tuple) else b"k" for event in events]
    end = first + len(events)
    return WireBatch("scores", 0, first, end, keys, values, range(first, end), [0] * len(events))  # type: ignore[arg-type]


def published(cut: Cut, topic: str = "app-player") -> list[dict[str, Any]]:
    return [json.loads(value or b"") for append in cut.appends if append.topic == topic for value in append.values]


def letters(cut: Cut) -> list[tuple[bytes | None, bytes | None]]:
    found = [append for append in cut.appends if append.topic == "app-dead-letters"]
    return [
        (value, dict(headers)["reason"])
        for append in found
        for value, headers in zip(append.values, append.headers, strict=True)
    ]


def plain(events: Sequence[Any], reach: int, seconds: float | None) -> tuple[list[Any], int, int]:
    """What is published of each event that is folded, and how many are duplicates and refused."""
    folded: dict[tuple[str, str], tuple[int, float]] = {}
    inputs = defaultdict[str, list[float]](list)
    outputs, duplicates, refused = [], 0, 0
    for offset, (key, name, x, ts) in enumerate(events):
        before = folded.get((key, str(name)))
        near = before is not None and offset - before[0] <= reach
        if near and (seconds is None or abs(ts - before[1]) <= seconds):  # type: ignore[index]
            duplicates += 1
        elif x == 13:
            refused += 1
        else:
            folded[key, str(name)] = offset, ts
            inputs[key].append(float(x))
            outputs.append((offset, key, len(inputs[key]), sum(inputs[key])))
    return outputs, duplicates, refused


TRAFFIC = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 15) | st.integers(0, 15).map(str),
        st.sampled_from([1, 2, 3, 4, 13]),
        st.integers(0, 20),
    ),
    max_size=80,
)


@settings(max_examples=150)
@given(
    TRAFFIC,
    st.sampled_from([{"window": 4}, {"window": 1_000}, {"window": "5s"}]),
    st.lists(st.integers(1, 30), min_size=1),
    st.sampled_from([{}, {"emit": "commit"}, {"operators": {"n": Count(publish="both")}}, {"max_keys": 5}]),
)
def test_a_table_folds_each_id_once_wherever_batches_and_restarts_fall(
    traffic: list[Any], window: dict[str, Any], sizes: list[int], options: dict[str, Any]
) -> None:
    dedupe = Dedupe("id", **window)
    one, log = started(dedupe=dedupe, **options), dict[bytes, bytes | None]()
    outputs, duplicates, refused, at, turn = list[Any](), 0, 0, 0, 0
    while at < len(traffic):
        size = sizes[turn % len(sizes)]
        one.fold(batch(traffic[at : at + size], at))
        at, turn = min(at + size, len(traffic)), turn + 1
        if turn % 2 and at < len(traffic):
            continue
        cut = one.cut()
        outputs += published(cut)
        duplicates += cut.counts.duplicates["player"]
        refused += len(letters(cut))
        (changelog,) = [append for append in cut.appends if append.topic.endswith("changelog")]
        log |= zip(changelog.keys, changelog.values, strict=True)  # type: ignore[arg-type]
        one = partition_of(dedupe=dedupe, **options)
        reader = one.tables["player"].changelog
        reader.apply(list(log), list(log.values()))
        reader.finish()
        assert reader.trouble is None
        one.resume(at, IDENTITY)
    wanted, again, bad = plain(traffic, dedupe.reach, dedupe.seconds)
    assert (duplicates, refused) == (again, bad)
    found = [(output["offset"], output["key"], output["games"], output["total"]) for output in outputs]
    if options.get("emit") == "commit":
        last = {key: (offset, key, games, total) for offset, key, games, total in wanted}
        assert {key: output for output in found for key in [output[1]]} == last
    else:
        assert found == wanted


def test_an_event_without_id_is_refused_by_this_table_alone() -> None:
    table = Table("player", STREAM, {"games": Count()}, dedupe=Dedupe("id", window=9), missing="skip")
    other = Table("other", STREAM, {"games": Count()})
    one = Partition(App("app", [table, other]), STREAM, 0, 1)
    one.resume(0, replace(IDENTITY, changelog_ids={"player": "log-id", "other": "log-id-2"}))
    one.fold(batch([b'{"id": 1, "ts": 0}', b'{"ts": 0}', b'{"id": null, "ts": 0}', b'{"id": 1, "ts": 0}']))
    cut = one.cut()
    assert [output["games"] for output in published(cut)] == [1]
    assert [output["games"] for output in published(cut, "app-other")] == [1, 2, 3, 4]
    assert letters(cut) == [
        (b'{"ts": 0}', b"missing or null: id"),
        (b'{"id": null, "ts": 0}', b"missing or null: id"),
    ]
    assert (cut.counts.duplicates["player"], cut.counts.skipped["player"]) == (1, 0)


@pytest.mark.parametrize("bad", ["1.5", "true", "[1]", "{}"])
def test_an_id_is_text_or_an_integer(bad: str) -> None:
    one = started(dedupe=Dedupe("id", window=9))
    one.fold(batch([f'{{"id": {bad}, "x": 1, "ts": 0}}'.encode(), b'{"id": 7, "x": 1, "ts": 0}']))
    cut = one.cut()
    assert [output["games"] for output in published(cut)] == [1]
    ((_, reason),) = letters(cut)
    assert (reason or b"").startswith(b"invalid field: id: Expected `int | str`")


def test_an_id_may_be_a_number_that_an_operator_reads() -> None:
    one = started(dedupe=Dedupe("x", window=9))
    one.fold(batch([b'{"x": 5, "ts": 0}', b'{"x": 6, "ts": 0}', b'{"x": 5, "ts": 0}', b'{"x": 1.5, "ts": 0}']))
    cut = one.cut()
    assert [output["total"] for output in published(cut)] == [5.0, 11.0]
    assert len(letters(cut)) == 1


def test_it_may_be_switched_on_and_off_and_changed_without_a_reset() -> None:
    one = started(dedupe=Dedupe("id", window=9))
    one.fold(batch([("k", 1, 1, 0)]))
    (changelog,) = [append for append in one.cut().appends if append.topic.endswith("changelog")]
    for dedupe, wanted in [(None, [2]), (Dedupe("id", window="1h"), []), (Dedupe("other", window=9), [])]:
        another = partition_of(dedupe=dedupe)
        reader = another.tables["player"].changelog
        reader.apply(list(changelog.keys), list(changelog.values))
        reader.finish()
        assert reader.trouble is None
        assert reader.meta is not None
        assert reader.meta.fingerprint == another.tables["player"].fingerprint
        another.resume(1, IDENTITY)
        another.fold(batch([("k", 1, 1, 0)], 1))
        assert [output["games"] for output in published(another.cut())] == wanted


def test_foreign_pages_of_ids_are_trouble() -> None:
    for key, value in [(b"I\0\0\0\0", b"short"), (b"I\0", bytes(PAGE_BYTES))]:
        reader = partition_of(dedupe=Dedupe("id", window=9)).tables["player"].changelog
        reader.apply([key], [value])
        assert "did not write" in str(reader.trouble)
