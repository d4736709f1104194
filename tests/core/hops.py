"""What a hop sends, and what its table makes of it, without a broker."""

from __future__ import annotations

import json
from collections.abc import Mapping

from operators import (
    Count,
    Mean,
)
from pipeline import App, Stream, Table
from pipeline.core.batch import WireBatch
from pipeline.core.config.repartition import rewritten
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
