"""Tables of one stream, each by a key of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operators import (
    Mean,
)
from pipeline import App, Stream, Table
from pipeline.core.batch import Events, WireBatch
from pipeline.core.config.problem import ConfigError
from pipeline.core.config.repartition import rewritten
from pipeline.core.formats.forwarded import ForwardedFormat
from pipeline.core.partition import Identity, Partition
from tests.core.hops import batch

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
