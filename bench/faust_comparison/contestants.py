"""Who is compared: each an arena with its own app and topics, and the same load of scores."""

from __future__ import annotations

import json
import os
import re
import sys
from abc import abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from kafka import TopicPartition

from pipeline.core.config.load import load
from pipeline.core.partition import Partition
from pipeline.edges.broker.ports import free_port
from tests.faults.arena import SESSION_SECONDS, Arena

PARTITIONS = 4
STREAM, TABLE = "scores", "counts"
_FAUST_APP = Path(__file__).with_name("faust_app.py")
_ERROR_LINE = re.compile(r"\[(?:ERROR|CRITICAL)\] (?:\[\^[^\]]*\]: )?(.*)")
_CHANGING = re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?")


class Contestant(Arena):
    """Workers that count the events by key, keep that in a table with a changelog, and publish each count."""

    partitions: ClassVar = {STREAM: PARTITIONS}
    mix: ClassVar = (STREAM,)
    title: ClassVar[str]
    config: ClassVar[str] = ""

    @property
    def parts(self) -> list[TopicPartition]:
        """The partitions that the events come from."""
        return [TopicPartition(f"{self.source}-{STREAM}", number) for number in range(PARTITIONS)]

    @property
    def written(self) -> list[TopicPartition]:
        """The partitions that the workers write to."""
        topics = (f"{self.name}-{TABLE}", f"{self.name}-{TABLE}-changelog")
        return [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]

    @property
    def sent(self) -> dict[str, int]:
        """How many events each key had."""
        return {key: truth.count for key, truth in self.truth[STREAM].items()}

    def published(self) -> list[Any]:
        """All committed records of the output topic."""
        return list(self.read(f"{self.name}-{TABLE}", PARTITIONS))

    @abstractmethod
    def table(self) -> dict[str, int]:
        """The count of each key, as a worker that took over would restore it from the changelog."""

    def complaints(self) -> list[tuple[str, int]]:
        """The most frequent errors in the workers' log, and how often they came with other numbers or names."""
        lines = _ERROR_LINE.findall(self._log.read_text("utf-8", "replace"))
        kinds: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            text = line.replace(self.name, "app").strip()
            kinds[_CHANGING.sub("", text)].append(text)
        often = sorted(kinds.values(), key=len, reverse=True)
        return [(texts[0], len(texts)) for texts in often[:3]]

    def changelog(self) -> list[Any]:
        """All committed records of the changelog."""
        return list(self.read(f"{self.name}-{TABLE}-changelog", PARTITIONS))


class Streamfold(Contestant):
    """`streamfold run`."""

    title = "streamfold"
    config = """
[app]
name = "{name}"
brokers = "{brokers}"
session_timeout = "{session}s"
http = "127.0.0.1:${{PORT}}"

[streams.scores]
topic = "{source}-scores"
partitions = 4

[tables.counts]
stream = "scores"
[tables.counts.operators]
games = {{ type = "count" }}
"""

    def command(self) -> list[str]:
        """The product itself."""
        return [sys.executable, "-P", "-m", "pipeline.cli", "run", str(self.file)]

    def table(self) -> dict[str, int]:
        """What a restore of the changelog gives."""
        app = load(self.file, self.environment())
        found: dict[str, int] = {}
        batches: dict[int, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
        for record in self.changelog():
            batches[record.partition][0].append(record.key)
            batches[record.partition][1].append(record.value)
        for number, (keys, values) in batches.items():
            kept = Partition(app, app.streams[STREAM], number, PARTITIONS).tables[TABLE]
            kept.changelog.apply(keys, values)
            if (trouble := kept.changelog.trouble) is not None:
                raise trouble
            kept.changelog.finish()
            games = kept.state.latest(kept.state.index.rows(list(kept.state.index)))["games"]
            found |= zip(map(bytes.decode, kept.state.index), map(int, games), strict=True)
        return found


class StockFaust(Contestant):
    """`faust worker` with the table of its documentation: in memory, with a changelog."""

    # It makes its changelogs, but no topics that it only writes to.
    partitions: ClassVar = {STREAM: PARTITIONS, TABLE: PARTITIONS}
    guarantee: ClassVar[str]

    def environment(self) -> dict[str, str]:
        """What the app asks for."""
        return os.environ | {
            "FAUST_NAME": self.name,
            "FAUST_SOURCE": f"{self.source}-{STREAM}",
            "FAUST_BROKERS": self.brokers,
            "FAUST_GUARANTEE": self.guarantee,
            "FAUST_SESSION": str(SESSION_SECONDS),
            "FAUST_PARTITIONS": str(PARTITIONS),
            "FAUST_DATA": str(self.folder / f"{self.name}-{free_port('127.0.0.1')}"),
        }

    def command(self) -> list[str]:
        """As its documentation starts it."""
        return [sys.executable, "-P", str(_FAUST_APP), "worker", "--without-web", "--loglevel", "warn"]

    def table(self) -> dict[str, int]:
        """The last record of each key."""
        return {json.loads(r.key) if r.key[:1] == b'"' else r.key.decode(): json.loads(r.value or b"0")
                for r in self.changelog()}  # fmt: skip


class FaustAtLeastOnce(StockFaust):
    """Its default."""

    title, guarantee = "Faust, at_least_once", "at_least_once"


class FaustExactlyOnce(StockFaust):
    """Its transactions."""

    title, guarantee = "Faust, exactly_once", "exactly_once"


CONTESTANTS: tuple[type[Contestant], ...] = (FaustAtLeastOnce, FaustExactlyOnce, Streamfold)
