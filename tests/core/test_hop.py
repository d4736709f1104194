"""Events on their way to the partition of their key, without a broker: what a hop writes, its table reads."""

from __future__ import annotations

import json
from math import inf, nan
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import (
    Count,
    KvMean,
)
from pipeline import App, Stream, Table
from pipeline.core.batch import Events, WireBatch
from pipeline.core.changelog import META
from pipeline.core.config.model import Dedupe
from pipeline.core.config.problem import ConfigError
from pipeline.core.config.repartition import rewritten
from pipeline.core.formats.forwarded import ForwardedFormat
from tests.core.hops import HOP, SCORES, TEAM, TOPIC, arrived, batch, hop, kept, results, sent_on


def test_an_event_goes_to_the_partition_of_its_key_whatever_its_records_key_is() -> None:
    one = hop()
    teams = [f"team-{n % 7}" for n in range(50)]
    keys: list[bytes | None] = [None if n % 2 else b"player" for n in range(50)]
    one.fold(batch(*({"team": team, "ts": n, "x": n} for n, team in enumerate(teams)), keys=keys))
    found = sent_on(one.cut())
    assert sum(len(append.keys) for append in found.values()) == 50
    assert len(found) > 1
    for partition, append in found.items():
        assert {crc32(key or b"") % 4 for key in append.keys} == {partition}
        assert append.keys == [team.encode() for team in teams if crc32(team.encode()) % 4 == partition]


def test_what_arrives_is_folded_as_it_was_with_the_time_it_had() -> None:
    one = hop(targets=1)
    one.fold(batch({"team": "a", "ts": 5.5, "x": 1}, {"team": "b", "ts": 6, "x": 7}, {"team": "a", "ts": 7, "x": 2}))
    two = kept()
    two.fold(arrived(sent_on(one.cut())[0]))
    assert results(two.cut()) == [
        {"key": "a", "time": 5.5, "partition": 0, "offset": 0, "games": 1, "mean": 1.0},
        {"key": "b", "time": 6.0, "partition": 0, "offset": 1, "games": 1, "mean": 7.0},
        {"key": "a", "time": 7.0, "partition": 0, "offset": 2, "games": 2, "mean": 1.5},
    ]


def test_the_changelog_of_a_hop_is_its_meta_record() -> None:
    one = hop()
    one.fold(batch({"team": "a", "ts": 1, "x": 1}))
    (log,) = [append for append in one.cut().appends if append.topic == f"app-{HOP}-changelog"]
    assert log.keys == [META]
    assert json.loads(log.values[0] or b"")["next_offset"] == 1


def test_a_bad_event_is_refused_where_it_is_read_first() -> None:
    one = hop(targets=1)
    one.fold(batch(b"{", {"ts": 1, "x": 1}, {"team": "a", "ts": 2, "x": "no"}, {"team": "a", "ts": 3, "x": 3}))
    cut = one.cut()
    (letters,) = [append for append in cut.appends if append.topic == "app-dead-letters"]
    assert letters.values[0] == b"{"
    assert [dict(headers)["stage"] for headers in letters.headers] == [b"decode", b"key", b"decode"]
    assert len(sent_on(cut)[0].values) == 1


def test_an_event_that_its_table_refuses_says_where_it_was_first() -> None:
    one = hop(targets=1)
    one.fold(batch({"team": "a", "ts": 1, "x": 1}, {"team": "a", "ts": 2}))
    two = kept()
    two.fold(arrived(sent_on(one.cut())[0]))
    (letters,) = [append for append in two.cut().appends if append.topic == "app-dead-letters"]
    headers = dict(letters.headers[0])
    assert (headers["stage"], headers["table"]) == (b"decode", b"team")
    assert (headers["topic"], headers["offset"]) == (TOPIC.encode(), b"1")
    assert (headers["origin_topic"], headers["origin_partition"], headers["origin_offset"]) == (b"scores", b"1", b"1")


def test_ids_travel_so_that_duplicates_are_known_where_they_are_folded() -> None:
    table = Table("team", stream=SCORES, operators={"games": Count()}, dedupe=Dedupe("id", window=100))
    one = hop(table, targets=1)
    ids = ["1", "", "1", "", None, "x" * 5_000]
    one.fold(batch(*({"team": "a", "ts": 1, "id": name} for name in ids)))
    cut = one.cut()
    (letters,) = [append for append in cut.appends if append.topic == "app-dead-letters"]
    assert [dict(headers)["reason"] for headers in letters.headers] == [b"id too long: more than 4096 bytes"]
    two = kept(table)
    two.fold(arrived(sent_on(cut)[0]))
    assert [record["games"] for record in results(two.cut())] == [1, 2]


def test_what_no_hop_wrote_is_a_bad_event() -> None:
    two = kept()
    size = ForwardedFormat.of(TEAM).size
    values = [None, b"", b"\x01", bytes(size), b"\x01" + np.full((size - 1) // 8, nan).tobytes()]
    two.fold(WireBatch(TOPIC, 0, 0, 5, [b"a"] * 5, [*values], range(5), [0] * 5))
    (letters,) = [append for append in two.cut().appends if append.topic == "app-dead-letters"]
    reasons = [dict(headers)["reason"] for headers in letters.headers]
    assert reasons == [b"null value", *[b"not written by this app"] * 4]
    assert not any("origin_topic" in dict(headers) for headers in letters.headers)


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.just(nan)


@given(
    st.lists(
        st.tuples(
            st.floats(-1e12, 1e12), st.integers(0, 2**53), numbers, st.tuples(numbers, numbers), st.none() | st.binary()
        ),
        max_size=20,
    )
)
def test_every_event_is_read_as_it_was_written(
    rows: list[tuple[float, int, float, tuple[float, float], bytes | None]],
) -> None:
    form = ForwardedFormat(["scores"], ["x"], {"k": 2}, ["id"])
    count = len(rows)
    events = Events(
        np.arange(count),
        [b"key"] * count,
        np.array([row[1] for row in rows], np.int64),
        np.array([row[0] for row in rows], float),
        {"x": np.array([row[2] for row in rows], float), "k": np.array([row[3] for row in rows]).reshape(count, 2)},
        {"id": [row[4] for row in rows]},
    )
    records = form.write(events, 0, 3, np.arange(count)[::-1])[::-1]
    parsed = form.parse([*records])
    assert not parsed.rejects
    assert not parsed.flaws
    assert parsed.times is not None
    assert parsed.times.tolist() == events.times.tolist()
    for field, column in events.columns.items():
        assert np.array_equal(parsed.columns[field], column, equal_nan=True)
    assert parsed.ids == events.ids
    for record, row in zip(records, rows, strict=True):
        assert dict(form.origin(record))["origin_offset"] == b"%d" % row[1]


def test_rewriting_leaves_other_tables_as_they_are_and_says_the_same_when_repeated() -> None:
    direct = Table("player", stream=Stream("plays", topic="plays"), operators={"games": Count()})
    app = App("app", tables=[TEAM, direct])
    once = rewritten(app)
    assert list(once.tables) == [HOP, "team", "player"]
    assert once.tables["player"] is direct
    assert rewritten(once).tables == once.tables
    assert once.fingerprint(once.tables["team"]) == app.fingerprint(TEAM)
    assert list(app.tables) == ["team", "player"]


def test_state_of_another_way_of_partitioning_has_another_fingerprint() -> None:
    plain = Stream("scores", topic="scores", key="team", time="ts", vectors={"k": 2})
    table = Table("team", stream=plain, operators=TEAM.operators)
    assert App("app", [table]).fingerprint(table) != App("app", [TEAM]).fingerprint(TEAM)


def test_vectors_go_along() -> None:
    table = Table("team", stream=SCORES, operators={"pair": KvMean(key="k", value="k")})
    one = hop(table, targets=1)
    one.fold(batch({"team": "a", "ts": 1, "k": [1, 2]}, {"team": "a", "ts": 2, "k": [3, 4]}))
    two = kept(table)
    two.fold(arrived(sent_on(one.cut())[0]))
    assert results(two.cut())[-1]["pair"] == {"key": [2, 3], "value": [2, 3], "score": pytest.approx((6 + 12) / 2**0.5)}


@pytest.mark.parametrize(
    ("stream", "table", "path", "words"),
    [
        ({"partitioned_by_key": True}, {}, "repartition", "isn't needed"),
        ({}, {"on_null": "delete"}, "on_null", "nobody knows which key"),
        ({"repartition": False}, {"partitions": 3}, "partitions", "isn't repartitioned"),
    ],
)
def test_what_does_not_go_with_repartitioning_is_refused(
    stream: dict[str, bool], table: dict[str, object], path: str, words: str
) -> None:
    options = {"topic": "scores", "key": "team", "repartition": True} | stream
    with pytest.raises(ConfigError) as refusal:
        Table("team", stream=Stream("scores", **options), operators={"games": Count()}, **table)  # type: ignore[arg-type]
    (problem,) = refusal.value.problems
    assert problem.path[-1] == path
    assert words in problem.message


def test_a_topic_that_another_table_takes_is_refused() -> None:
    other = Table("b", stream=Stream("plays", topic="plays"), operators={"games": Count()}, output=TOPIC)
    with pytest.raises(ConfigError, match="repartitioning of the table"):
        App("app", tables=[TEAM, other])


def test_infinite_times_are_not_believed() -> None:
    form = ForwardedFormat(["scores"], [], {})
    record = b"\x01" + np.array([inf, 0.0, 0.0, 0.0]).tobytes()
    assert form.parse([record]).flaws


SIZE = ForwardedFormat(["scores"], ["x"], {}, ["id"]).size


@given(st.lists(st.none() | st.binary(max_size=SIZE + 20) | st.binary(min_size=SIZE - 1).map(b"\x01".__add__)))
def test_whatever_bytes_arrive_are_events_or_refused(values: list[bytes | None]) -> None:
    form = ForwardedFormat(["scores"], ["x"], {}, ["id"])
    parsed = form.parse(values)
    assert sorted([*parsed.index.tolist(), *(reject.index for reject in parsed.rejects)]) == [*range(len(values))]
    assert parsed.times is not None
    sound = [row for row in range(len(parsed.index)) if row not in parsed.flaws]
    assert np.isfinite(parsed.times[sound]).all()
    for value in values:
        form.origin(value)
