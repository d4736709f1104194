"""Tables that fold each event id once: against a plain loop, wherever batches, restarts and bad events fall."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import Count, MovingMean, Sum
from operators.operator import Batch, State
from pipeline import App, Dedupe, Stream, Table
from pipeline.core.batch import Floats, WireBatch
from pipeline.core.dedupe import PAGE_BYTES
from pipeline.core.partition import Cut, Identity, Partition


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
