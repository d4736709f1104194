"""Events through a configuration without a broker: what a worker would publish of them, and what it would answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from pipeline.core.batch import WireBatch
from pipeline.core.config.model import App, Table
from pipeline.core.partition import Identity, Partition
from pipeline.core.record import RecordEncoder
from pipeline.core.written import Written


@dataclass(frozen=True)
class Folded:
    """What became of the events of one stream, in one partition."""

    app: App
    partition: Partition
    published: dict[str, list[tuple[bytes | None, bytes | None]]]

    def records(self, table: str) -> list[bytes]:
        """The output records of a table, in order."""
        return [value or b"" for _, value in self.published.get(self.app.output(self.app.tables[table]), [])]

    def results(self, table: str) -> list[dict[str, Any]]:
        """They, decoded."""
        return [msgspec.json.decode(record) for record in self.records(table)]

    def dead_letters(self) -> list[bytes | None]:
        """The values of the events that were refused."""
        return [value for _, value in self.published.get(self.app.dead_letters, [])]

    def answer(self, table: str, key: str, operator: str, query: list[float] | None) -> Any:
        """What an operator's memory of a key gives for a query; without one, for that of the newest event."""
        state = self.partition.tables[table].state
        row = state.find(key.encode())
        assert row is not None, key
        memory = state.memories[operator]
        asked = None if query is None else np.array([query], float)
        found = memory.operator.read(memory.gather(np.array([row])), asked)
        return plain(found)


def plain(readout: Any) -> Any:
    """The first row of what an operator gave, as JSON would show it."""
    if isinstance(readout, dict):
        return {name: plain(part) for name, part in readout.items()}
    return None if readout is None else np.asarray(readout)[0].tolist()


def folded(app: App, stream: str, events: Iterable[Written], *, partitions: int = 1) -> Folded:
    """Fold the events, of which `send` would make the records."""
    source = app.streams[stream]
    encoder = RecordEncoder(source)
    records = [encoder.encode(event) for event in events]
    partition = Partition(app, source, 0, partitions)
    tables: Iterable[Table] = app.tables_of(source)
    partition.resume(0, Identity("id", "source", {table.name: "changelog" for table in tables}, 0, 1_000_000))
    count = len(records)
    keys, values = [key for key, _ in records], [value for _, value in records]
    partition.fold(WireBatch(source.topic, 0, 0, count, keys, list(values), list(range(count)), [0] * count))
    published = {append.topic: list(zip(append.keys, append.values, strict=True)) for append in partition.cut().appends}
    return Folded(app, partition, published)
