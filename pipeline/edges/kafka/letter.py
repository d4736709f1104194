"""A dead letter as it is read back, and whether it can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.core.batch import Headers
from pipeline.core.config.model import App
from pipeline.core.dead_letter import SOURCE
from pipeline.core.replay import Replay, named, number
from pipeline.edges.kafka.topic_spec import TopicInfo


@dataclass(frozen=True)
class Filter:
    """Which letters are meant: those that ``table`` did not fold, and those whose stage and reason hold ``reason``."""

    table: str | None = None
    reason: str | None = None

    def lets_through(self, letter: Letter, app: App) -> bool:
        """Whether it is meant."""
        if self.table is not None:
            stream = app.tables[self.table].stream
            if letter.table != self.table and (
                letter.table is not None or letter.topic not in {each.topic for each in (stream, *stream.origins)}
            ):
                return False
        return self.reason is None or self.reason.lower() in letter.why.lower()


@dataclass(frozen=True)
class Letter:
    """A dead letter. ``why`` is its stage and reason; ``sound`` whether it says all that a replay needs to know."""

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]

    @classmethod
    def of(cls, record: Any) -> Letter:
        """Of a record as kafka-python reads it."""
        return cls(record.key, record.value, dict(record.headers))

    def text(self, name: str) -> str:
        """A header as text; "" if there is none."""
        return (self.headers.get(name) or b"").decode("utf-8", "replace")

    @property
    def topic(self) -> str:
        """Where the event came from."""
        return self.text("topic")

    @property
    def partition(self) -> int | None:
        """The partition that it came from."""
        return number(self.headers.get("partition"))

    @property
    def timestamp(self) -> int | None:
        """The event's timestamp in Unix milliseconds."""
        text = self.text("time")
        try:
            return int(text.removesuffix(" ms")) if text.endswith(" ms") else _milliseconds(text)
        except ValueError:
            return None

    @property
    def table(self) -> str | None:
        """The only table that refused it, or None."""
        return self.text("table") or None

    @property
    def why(self) -> str:
        """``decode: missing or null: x``."""
        return f"{self.text('stage')}: {self.text('reason')}"

    @property
    def replays(self) -> int:
        """How often it had been replayed when it was refused."""
        return number(self.headers.get("replays")) or 0

    def trouble(self, app: App, topics: Mapping[str, TopicInfo]) -> tuple[str, bool]:
        """Why it can't be replayed, and whether that is for good; "" if it can."""
        if "state" not in self.headers or self.partition is None or self.timestamp is None or self.timestamp < 0:
            return "are no dead letters", True
        if {"key", "value"} & set(self.text("truncated").split(", ")):
            return "were cut to fit when they were written", True
        if self.key is None and self.value is None:
            return "have neither key nor value", True
        if self.topic not in topics or all(table.stream.topic != self.topic for table in app.tables.values()):
            return "are of a topic that no table reads", False
        if self.partition >= topics[self.topic].partitions:
            return "are of a partition that is not there", False
        if not self.states(app, topics):
            return "are of a state that was reset since", True
        return "", False

    def states(self, app: App, topics: Mapping[str, TopicInfo]) -> frozenset[str]:
        """The states that lack its event."""
        logs = {app.changelog(table) for table in app.tables.values() if table.stream.topic == self.topic}
        return named(self.headers["state"]) & {topics[log].topic_id for log in logs if log in topics}

    def source_headers(self, states: frozenset[str]) -> Headers:
        """What it is sent back with: the headers that it came with, and for whom it is."""
        own = [(name.removeprefix(SOURCE), value) for name, value in self.headers.items() if name.startswith(SOURCE)]
        return [*own, *Replay(states, self.replays + 1).headers()]


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
