"""What one task folds, without a broker: batches go in, cuts come out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from operators import Count, KvMean, Mean, MovingMean, Sum
from pipeline import App, Stream, Table
from pipeline.core.batch import WireBatch
from pipeline.core.changelog import META
from pipeline.core.partition import Cut, GapError, Identity, Partition
from pipeline.core.record_size import largest_output, largest_state
from pipeline.core.table import Append
from pipeline.errors import KafkaStateError, RunError

SCORES = Stream("scores", topic="scores")
BY_FIELD = Stream("scores", topic="scores", key="who")
IDENTITY = Identity("streamfold/app/scores/1", "source-id", {"player": "log-id", "latest": "log-id-2"}, 1, 1_000_000)


def table(name: str = "player", stream: Stream = SCORES, **options: Any) -> Table:
    return Table(name, stream=stream, **({"operators": {"games": Count(), "average": Mean(value="x")}} | options))


def partition(*tables: Table, at: int = 0, of: int = 2) -> Partition:
    """Partition 1 of the topic, resumed at an offset."""
    app = App("app", tables=tables or [table()])
    made = Partition(app, next(iter(app.streams.values())), 1, of)
    made.resume(at, IDENTITY)
    return made


def batch(
    *events: object, start: int = 0, key: bytes | None = b"k", next_offset: int | None = None, keys: object = None
) -> WireBatch:
    values: list[bytes | None] = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    names = [key] * len(values)
    if isinstance(keys, list):
        names = keys
    end = start + len(values)
    return WireBatch(
        "scores", 1, start, end if next_offset is None else next_offset, names, values, list(range(start, end)),
        [1_700_000_000_000] * len(values),
    )  # fmt: skip


def append_to(cut: Cut, topic: str) -> Append:
    (found,) = [append for append in cut.appends if append.topic == topic]
    return found


def games(cut: Cut, topic: str = "app-player") -> list[int]:
    return [json.loads(value or b"")["games"] for value in append_to(cut, topic).values]


def meta(cut: Cut, name: str = "player") -> dict[str, Any]:
    log = append_to(cut, f"app-{name}-changelog")
    (value,) = [value for key, value in zip(log.keys, log.values, strict=True) if key == META]
    decoded: dict[str, Any] = json.loads(value or b"")
    return decoded


@pytest.mark.parametrize("start", [2, 4])
def test_a_batch_that_does_not_start_at_the_position_is_refused_and_changes_nothing(start: int) -> None:
    one = partition()
    one.fold(batch({"x": 1}, {"x": 2}, {"x": 3}))
    with pytest.raises(GapError, match=f"at 3, was given {start}"):
        one.fold(batch({"x": 9}, start=start))
    assert one.position == 3
    assert games(one.cut()) == [1, 2, 3]


def test_what_a_batch_explains_of_its_offsets_is_no_gap() -> None:
    one = partition()
    one.fold(batch({"x": 1}, next_offset=10))
    one.fold(batch(start=10, next_offset=12))
    one.fold(batch({"x": 2}, start=12))
    cut = one.cut()
    assert (cut.next_offset, games(cut)) == (13, [1, 2])


def test_one_cut_carries_state_outputs_letters_and_the_same_offset_for_all_tables() -> None:
    one = partition(table(), table("latest", emit="commit"))
    one.fold(batch({"x": 1}, b"bad", {"x": 3}))
    cut = one.cut()
    assert meta(cut)["next_offset"] == meta(cut, "latest")["next_offset"] == cut.next_offset == 3
    assert games(cut) == [1, 2]
    assert games(cut, "app-latest") == [2]
    assert append_to(cut, "app-dead-letters").values == [b"bad"]
    assert append_to(cut, "app-dead-letters").partition == 1
    assert meta(cut)["keys"] == 1
    assert cut.counts.events == 3
    assert cut.counts.outputs == {"player": 2, "latest": 1}
    assert list(cut.counts.dead_letters.values()) == [1]
    assert not one.moved
    assert not one.changed


def test_a_cut_is_a_copy_that_later_folds_do_not_change() -> None:
    one = partition(table(operators={"games": Count(), "last": MovingMean(value="x", window=3)}))
    one.fold(batch({"x": 1}, {"x": 2}))
    cut = one.cut()
    before = [(append.topic, list(append.keys), list(append.values)) for append in cut.appends]
    one.fold(batch({"x": 3}, {"x": 4}, b"bad", start=2))
    assert [(append.topic, append.keys, append.values) for append in cut.appends] == before
    assert games(one.cut()) == [3, 4]


def test_counts_are_of_all_folds_since_the_last_cut_and_of_these_alone() -> None:
    one = partition(table())
    one.fold(batch({"x": 1}, b"bad"))
    one.fold(batch({"x": 2}, b"worse", b"worst", start=2))
    counts = one.cut().counts
    assert (counts.events, counts.outputs["player"]) == (5, 2)
    assert counts.dead_letters.total() == 3
    assert len(counts.stamps) == 5
    one.fold(batch({"x": 3}, start=5))
    counts = one.cut().counts
    assert (counts.events, counts.outputs["player"], counts.dead_letters.total()) == (1, 1, 0)


@pytest.mark.parametrize(("events", "samples"), [(0, 0), (1, 1), (20, 20), (21, 11), (39, 20), (1_000, 20)])
def test_some_of_the_events_are_samples_of_the_latency(events: int, samples: int) -> None:
    one = partition(table())
    one.fold(batch(*({"x": 1} for _ in range(events)), next_offset=events))
    assert len(one.cut().counts.stamps) == samples


def test_a_position_that_moved_without_events_is_committed_bare() -> None:
    one = partition()
    one.fold(batch(next_offset=2))
    assert one.moved
    assert not one.changed
    cut = one.cut()
    assert [append.topic for append in cut.appends] == ["app-player-changelog"]
    assert meta(cut)["next_offset"] == 2


def test_what_waits_is_measured_and_starts_again_after_a_cut() -> None:
    one = partition()
    one.fold(batch(*[{"x": n} for n in range(1_000)]))
    waiting = one.waiting_bytes
    written = sum(len(value or b"") + len(key or b"") for append in one.cut().appends for key, value in _pairs(append))
    assert 0.8 * written < waiting < 1.2 * written
    assert one.waiting_bytes == 0
    latest = partition(table(emit="commit"))
    latest.fold(batch({"x": 1}))
    assert latest.waiting_bytes == 0
    latest.fold(batch(b"bad", start=1))
    assert latest.waiting_bytes == len(b"k") + len(b"bad")
    cut = latest.cut()
    assert cut.nbytes == len(b"k") + len(b"bad") + cut.counts.changelog_bytes.total() > 100


def _pairs(append: Append) -> Sequence[tuple[bytes | None, bytes | None]]:
    return list(zip(append.keys, append.values, strict=True)) if append.topic == "app-player" else []


STOPPED = r"scores-1 at offset 1 \(.+\), and table player says on_error = .stop."


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (b"bad", "decode: malformed value"),
        (b"", "decode: empty value"),
        ({"x": "two"}, "decode: invalid field: x"),
        (b'{"x": 1e999}', "decode: "),
        ({}, "decode: missing or null: x"),
        ({"x": 1e308}, "fold: overflow"),
    ],
)
def test_a_bad_event_stops_where_the_table_says_so(event: object, why: str) -> None:
    operators = {"games": Count(), "total": Sum(value="x")}
    one = partition(table(operators=operators, on_error="stop"), table("latest", operators={"games": Count()}))
    with pytest.raises(RunError, match=STOPPED) as stopped:
        one.fold(batch({"x": 1.7e308}, event, {"x": 3}))
    assert why in stopped.value.cause
    assert "app-dead-letters" in stopped.value.mend
    assert stopped.value.exit_code == 1
    assert one.position == 0
    lenient = partition(table(operators=operators))
    lenient.fold(batch({"x": 1.7e308}, event, {"x": 3}))
    assert games(lenient.cut()) == [1, 2]


def test_a_table_that_stops_is_not_stopped_by_an_event_that_is_bad_for_another_only() -> None:
    one = partition(table(operators={"games": Count()}, on_error="stop"), table("latest"))
    one.fold(batch({"x": 1}, {}, {"x": 3}))
    cut = one.cut()
    assert (games(cut), games(cut, "app-latest")) == ([1, 2, 3], [1, 2])


@pytest.mark.parametrize("key", [None, b"bob"])
def test_a_record_key_that_is_not_the_field_is_evidence_only_where_there_are_other_partitions(
    key: bytes | None,
) -> None:
    event = {"who": "ann", "x": 1}
    with pytest.raises(KafkaStateError, match=r"not partitioned by the field .who.: .* scores-1 offset 0"):
        partition(table(stream=BY_FIELD)).fold(batch(event, key=key))
    partition(table(stream=BY_FIELD), of=1).fold(batch(event, key=key))
    vouched = Stream("scores", topic="scores", key="who", partitioned_by_key=True)
    partition(table(stream=vouched)).fold(batch(event, key=key))


def test_a_key_that_a_sibling_holds_is_evidence_and_moves_nothing() -> None:
    here, there = partition(table(stream=BY_FIELD)), partition(table(stream=BY_FIELD))
    there.fold(batch({"who": "ann", "x": 1}, key=b"ann"), [here])
    here.fold(batch({"who": "bob", "x": 1}, key=b"bob"), [there])
    with pytest.raises(KafkaStateError, match="the key 'ann' is in partition 1 and in another one"):
        here.fold(batch({"who": "ann", "x": 1}, key=b"ann", start=1), [there])
    assert here.position == 1


def test_the_records_own_key_may_be_in_several_partitions() -> None:
    here, there = partition(), partition()
    there.fold(batch({"x": 1}), [here])
    here.fold(batch({"x": 1}), [there])
    assert here.position == there.position == 1


@pytest.mark.parametrize("publish", ["readout", "state", "both"])
@pytest.mark.parametrize("emit", ["every", "commit"])
def test_no_record_is_larger_than_the_largest(publish: Any, emit: Any) -> None:
    wide = table(emit=emit, operators={"last": MovingMean(value="x", window=300, publish=publish)})
    one = partition(wide)
    key = b"\x01" * 4_096  # JSON writes each of these bytes as six
    one.fold(batch(*[{"x": -2.2250738585072014e-308 * (n + 1)} for n in range(300)], key=key))
    cut = one.cut()
    log, output = append_to(cut, "app-player-changelog"), append_to(cut, "app-player")
    assert max(len(k or b"") + len(v or b"") for k, v in zip(log.keys, log.values, strict=True)) < largest_state(wide)
    assert max(len(k or b"") + len(v or b"") for k, v in zip(output.keys, output.values, strict=True)) < largest_output(
        wide
    )


def test_no_record_with_the_parts_of_a_key_is_larger_than_the_largest() -> None:
    parts = ("a" * 200, "b" * 200)
    stream = Stream("scores", topic="scores", key=parts, partitioned_by_key=True)
    joined = table(stream=stream)
    one = partition(joined)
    one.fold(batch({parts[0]: "\x01" * 2047, parts[1]: "\x02" * 2048, "x": -2.2250738585072014e-308}))
    output = append_to(one.cut(), "app-player")
    assert 4 * 2047 * 6 < len(output.keys[0] or b"") + len(output.values[0] or b"") < largest_output(joined)


def test_a_key_of_parts_in_two_partitions_is_told_by_its_fields() -> None:
    stream = Stream("scores", topic="scores", key=["who", "game"])
    with pytest.raises(
        KafkaStateError, match=r"by the fields 'who', 'game' joined by '/': .* scores-1 offset 0"
    ) as told:
        partition(table(stream=stream)).fold(batch({"who": "ann", "game": "go", "x": 1}, key=b"ann"))
    assert "the fields 'who', 'game' joined by '/' as the record key" in told.value.mend
    partition(table(stream=stream)).fold(batch({"who": "ann", "game": "go", "x": 1}, key=b"ann/go"))


def test_listed_keys_show_what_is_defined_of_their_latest_results() -> None:
    stream = Stream("scores", topic="scores", vectors={"k": 2, "v": 2})
    operators = {"games": Count(), "memory": KvMean(key="k", value="v"), "other": Mean(value="y")}
    made = partition(table(stream=stream, operators=operators, metrics_keys=["k", "absent"], missing="skip"))
    assert made.listed() == {}
    made.fold(
        batch(
            {"k": [1, 0], "v": [3, 4]}, {"k": [1, 0], "v": [5, 6]}, {"k": [1, 0], "v": [7, 8]}, keys=[b"k", b"k", b"z"]
        )
    )
    assert made.listed() == {
        ("player", "k", "games"): 2,
        ("player", "k", "memory.key[0]"): 1,
        ("player", "k", "memory.key[1]"): 0,
        ("player", "k", "memory.value[0]"): 4,
        ("player", "k", "memory.value[1]"): 5,
        ("player", "k", "memory.score"): pytest.approx(0.5**0.5),
    }
    made.fold(batch({"k": [1, 0], "v": [3, 4], "y": 9}, start=3))
    assert made.listed()["player", "k", "other"] == 9
