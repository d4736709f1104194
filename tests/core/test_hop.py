"""Events on their way to the partition of their key, without a broker: what a hop writes, its table reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, nan
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import (
    Corr,
    Count,
    EventRate,
    Ewma,
    First,
    KvMean,
    Last,
    Max,
    Mean,
    Min,
    MovingMean,
    Operator,
    Quantile,
    Std,
    Sum,
    Var,
    WeightedMean,
)
from operators.columns.grouping import Floats
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Shape, State
from pipeline import App, Stream, Table
from pipeline.core.batch import Events, WireBatch
from pipeline.core.changelog import META
from pipeline.core.config.model import Dedupe
from pipeline.core.config.problem import ConfigError
from pipeline.core.config.repartition import rewritten
from pipeline.core.formats.forwarded import ForwardedFormat
from pipeline.core.partition import Cut, Identity, Partition
from pipeline.core.table import Append

SCORES = Stream("scores", topic="scores", key="team", time="ts", vectors={"k": 2}, repartition=True)
TEAM = Table("team", stream=SCORES, operators={"games": Count(), "mean": Mean(value="x")})
HOP = "team-scores-repartition"
TOPIC = "app-team-repartition"


def hop(table: Table = TEAM, targets: int = 4) -> Partition:
    """Partition 1 of the source."""
    app = rewritten(App("app", tables=[table]))
    made = Partition(app, app.streams["scores"], 1, 2, {TOPIC: targets})
    made.resume(0, Identity("id", "source-id", {HOP: "hop-log"}, 0, 1_000_000))
    return made


def kept(table: Table = TEAM, partition: int = 0) -> Partition:
    """What is left of the table, in one of its partitions."""
    app = rewritten(App("app", tables=[table]))
    made = Partition(app, app.streams["team-repartition"], partition, 4)
    made.resume(0, Identity("id", "source-id", {"team": "log"}, 0, 1_000_000))
    return made


def batch(*events: object, keys: list[bytes | None] | None = None, start: int = 0) -> WireBatch:
    values: list[bytes | None] = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    end = start + len(values)
    stamps = [1_700_000_000_000] * len(values)
    return WireBatch("scores", 1, start, end, keys or [None] * len(values), values, range(start, end), stamps)


def sent_on(cut: Cut) -> dict[int, Append]:
    return {append.partition: append for append in cut.appends if append.topic == TOPIC}


def arrived(append: Append) -> WireBatch:
    """The records as the table's partition gets them."""
    count = len(append.values)
    stamps = [1_700_000_009_000] * count
    return WireBatch(TOPIC, append.partition, 0, count, append.keys, append.values, range(count), stamps)


def results(cut: Cut) -> list[Mapping[str, object]]:
    (output,) = [append for append in cut.appends if append.topic == "app-team"]
    return [json.loads(value or b"") for value in output.values]


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


OPERATORS: Mapping[str, Operator] = {
    "count": Count(),
    "sum": Sum(value="x"),
    "mean": Mean(value="x"),
    "weighted": WeightedMean(value="x", weight="w"),
    "var": Var(value="x"),
    "std": Std(value="w"),
    "min": Min(value="x"),
    "max": Max(value="x"),
    "first": First(value="x"),
    "last": Last(value="x"),
    "corr": Corr(value="x", other="w"),
    "recent": Ewma(value="x", half_life="30s"),
    "rate": EventRate(half_life="30s"),
    "pair": KvMean(key="k", value="k"),
}
BY_COMMIT = Table("team", stream=SCORES, operators=OPERATORS, emit="commit")


def two_hops(table: Table, commits: list[list[dict[str, object]]], targets: int = 1) -> tuple[dict[str, Any], int]:
    """Each key's last result, and how many records went between the hops, when each list is a commit of the first."""
    one, sent = hop(table, targets), list[Append]()
    for events in commits:
        one.fold(batch(*events, start=one.position))
        sent += sent_on(one.cut()).values()
    latest = dict[str, Any]()
    for partition in range(targets):
        mine = [append for append in sent if append.partition == partition]
        two = kept(table, partition)
        keys = [key for append in mine for key in append.keys]
        values = [value for append in mine for value in append.values]
        two.fold(arrived(Append(TOPIC, partition, keys, values)))
        latest |= {str(record["key"]): record for record in results(two.cut())}
    return latest, sum(len(append.values) for append in sent)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_folding_in_two_stages_gives_what_folding_the_events_gives(data: st.DataObject) -> None:
    values = st.floats(-1e6, 1e6)
    event = st.builds(
        lambda team, x, w, k: {"team": team, "x": x, "w": w, "k": k},
        st.sampled_from("abc"), values, st.floats(0.1, 10), st.lists(values, min_size=2, max_size=2),
    )  # fmt: skip
    events = [{**e, "ts": 10.0 * n} for n, e in enumerate(data.draw(st.lists(event, min_size=1, max_size=40)))]
    at = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    commits = [events[a:b] for a, b in pairwise([0, *at, len(events)]) if a < b]
    staged, _ = two_hops(BY_COMMIT, commits)
    single, _ = two_hops(replace(BY_COMMIT, ttl="3650d"), commits)
    assert staged.keys() == single.keys()
    for key, record in single.items():
        for name in OPERATORS:
            assert_close(staged[key][name], record[name], events, name)


def assert_close(found: Any, expected: Any, events: list[dict[str, Any]], name: str) -> None:
    if isinstance(expected, dict):
        for part, value in expected.items():
            assert_close(found[part], value, events, name)
    elif expected is None:
        assert found is None
    else:
        largest = max(abs(e["x"]) for e in events) + max(abs(n) for e in events for n in e["k"]) + 1
        size = largest**2 if name in ("var", "pair", "corr") else largest
        assert np.allclose(found, expected, rtol=1e-12, atol=1e-12 * size), (name, found, expected)


def test_ten_events_a_key_and_commit_are_a_tenth_of_the_records() -> None:
    events: list[dict[str, object]] = [{"team": f"t{n % 20}", "ts": n, "x": n, "w": 1, "k": [1, n]} for n in range(200)]
    staged, few = two_hops(BY_COMMIT, [events, events], targets=3)
    single, many = two_hops(replace(BY_COMMIT, ttl="3650d"), [events, events], targets=3)
    assert (few, many) == (40, 400)
    assert [staged[key]["count"] for key in sorted(single)] == [20] * 20


def test_an_event_that_lacks_a_field_is_refused_before_it_is_folded_with_others() -> None:
    one = hop(BY_COMMIT, 1)
    one.fold(batch({"team": "a", "ts": 1, "x": 1}, {"team": "a", "ts": 2, "x": 1, "w": 1, "k": [1, 2]}))
    cut = one.cut()
    (letters,) = [append for append in cut.appends if append.topic == "app-dead-letters"]
    assert letters.values == [b'{"team": "a", "ts": 1, "x": 1}']
    assert len(sent_on(cut)[0].values) == 1


def test_an_operator_that_had_no_event_has_none_after_merging() -> None:
    table = Table("team", stream=SCORES, operators=OPERATORS, emit="commit", missing="skip")
    found, _ = two_hops(table, [[{"team": "a", "ts": 1, "w": 2}], [{"team": "a", "ts": 2, "w": 4}]])
    assert (found["a"]["count"], found["a"]["min"], found["a"]["mean"]) == (2, None, None)
    assert found["a"]["std"] == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("options", "staged"),
    [
        ({}, True),
        ({"emit": "every"}, False),
        ({"ttl": "1h"}, False),
        ({"max_keys": 5}, False),
        ({"dedupe": Dedupe("id", window=5)}, False),
        ({"operators": {"m": MovingMean(value="x", window=3)}}, False),
        ({"operators": {"e": Ewma(value="x", alpha=0.1)}}, False),
        ({"operators": {"q": Quantile(value="x")}}, False),
    ],
)
def test_what_is_folded_in_two_stages(options: dict[str, Any], *, staged: bool) -> None:
    assert replace(BY_COMMIT, **options).two_stage is staged


def test_a_topic_that_another_table_takes_is_refused() -> None:
    other = Table("b", stream=Stream("plays", topic="plays"), operators={"games": Count()}, output=TOPIC)
    with pytest.raises(ConfigError, match="repartitioning of the table"):
        App("app", tables=[TEAM, other])


def test_infinite_times_are_not_believed() -> None:
    form = ForwardedFormat(["scores"], [], {})
    record = b"\x01" + np.array([inf, 0.0, 0.0, 0.0]).tobytes()
    assert form.parse([record]).flaws


WEATHER = Stream(
    "weather",
    topic="scores",
    time="at",
    select={"day": "date(at)", "hot": "temp * 2"},
    where="kind == 'air'",
    repartition=True,
)
DAILY = Table("daily", stream=WEATHER, key=["station", "day"], operators={"mean": Mean(value="temp")})
SPOT = Table("spot", stream=WEATHER, key="station", operators={"twice": Mean(value="hot")}, emit="commit")


def test_tables_of_one_stream_have_keys_of_their_own() -> None:
    app = rewritten(App("app", tables=[DAILY, SPOT]))
    topics = {"app-daily-repartition": 2, "app-spot-repartition": 1}
    one = Partition(app, app.streams["weather"], 0, 2, topics)
    logs = {"daily-weather-repartition": "a", "spot-weather-repartition": "b"}
    one.resume(0, Identity("id", "source-id", logs, 0, 1_000_000))
    event = {"station": "JFK", "at": 86_400.0, "temp": 10, "kind": "air"}
    events = [event, event | {"kind": "sea"}, event | {"at": 0, "temp": 20}, event | {"station": None}, {"kind": "air"}]
    events.append(event | {"at": 1e18})
    one.fold(batch(*events))
    cut = one.cut()
    daily = [key for append in cut.appends if append.topic == "app-daily-repartition" for key in append.keys]
    assert sorted(filter(None, daily)) == [b"JFK/1970-01-01", b"JFK/1970-01-02"]
    (spot,) = [append for append in cut.appends if append.topic == "app-spot-repartition"]
    assert spot.keys == [b"JFK"]
    (letters,) = [append for append in cut.appends if append.topic == "app-dead-letters"]
    told = sorted(
        (headers["offset"], headers.get("table"), headers["reason"]) for headers in map(dict, letters.headers)
    )
    assert told == [
        (b"3", None, b"missing or null: station"),
        (b"4", None, b"missing or null: at"),
        (b"5", b"daily-weather-repartition", b"missing or null: day"),
    ]
    assert cut.counts.filtered == 1


def test_the_parts_of_a_tables_own_key_are_in_its_results() -> None:
    app = rewritten(App("app", tables=[DAILY]))
    two = Partition(app, app.streams["daily-repartition"], 0, 1)
    two.resume(0, Identity("id", "source-id", {"daily": "log"}, 0, 1_000_000))
    form = ForwardedFormat.of(DAILY)
    events = Events(np.arange(1), [b"JFK/1970-01-02"], np.arange(1), np.array([86_400.0]), {"temp": np.array([10.0])})
    values: list[bytes | None] = [*form.write(events, 0, 0, np.arange(1))]
    two.fold(WireBatch("app-daily-repartition", 0, 0, 1, [b"JFK/1970-01-02"], values, range(1), [0]))
    (output,) = [append for append in two.cut().appends if append.topic == "app-daily"]
    record = json.loads(output.values[0] or b"")
    assert (record["key"], record["station"], record["day"]) == ("JFK/1970-01-02", "JFK", "1970-01-02")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": "at"}, "its time"),
        ({"key": ["station", "time"]}, "every output record has a field of that name"),
        ({"key": ["station", "mean"]}, "is a part of the key"),
        ({"stream": Stream("plain", topic="plain"), "key": "station"}, "isn't repartitioned"),
    ],
)
def test_a_key_of_the_tables_own_that_does_not_fit_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        replace(DAILY, **options)
    assert words in str(refusal.value)


def test_tables_of_other_keys_have_other_fingerprints() -> None:
    other = replace(DAILY, key="station")
    assert App("app", [DAILY]).fingerprint(DAILY) != App("app", [other]).fingerprint(other)


def test_a_commit_without_events_sends_nothing_on() -> None:
    one = hop(BY_COMMIT)
    assert not sent_on(one.cut())
    one.fold(batch(b"{"))
    assert not sent_on(one.cut())


@dataclass(frozen=True, kw_only=True)
class Lowest(Operator):
    """The lowest value so far, infinite before the first."""

    value: FieldSpec

    @property
    def algebra(self) -> Algebra:
        return "monoid"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        return Layout((Field("lowest", initial=inf),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        lowest = np.minimum.reduceat(batch.columns["value"], batch.groups.start)
        state["lowest"] = np.minimum(state["lowest"], lowest)
        return None

    def read(self, state: State, query: Floats | None = None) -> Floats:
        return state["lowest"]

    def export(self, state: State) -> list[dict[str, object]]:
        return [{"lowest": lowest} for lowest in state["lowest"].tolist()]

    def merge(self, state: State, other: State) -> None:
        state["lowest"] = np.minimum(state["lowest"], other["lowest"])


def test_a_state_that_begins_infinite_is_merged_once_it_is_not() -> None:
    operators: dict[str, Operator] = {"n": Count(), "lowest": Lowest(value="x")}
    table = Table("team", stream=SCORES, operators=operators, emit="commit", missing="skip")
    assert table.two_stage
    events: list[dict[str, object]] = [{"team": "a", "ts": 1}, {"team": "a", "ts": 2, "x": 5}, {"team": "b", "ts": 3}]
    found, _ = two_hops(table, [[event] for event in events])
    assert (found["a"]["n"], found["a"]["lowest"]) == (2, 5.0)
    assert (found["b"]["n"], found["b"]["lowest"]) == (1, None)
