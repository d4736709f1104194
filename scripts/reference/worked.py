"""Runs an example: its configuration is loaded, its events are decoded, folded and encoded as a worker does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from operators.operator import Operator
from pipeline.core.batch import WireBatch
from pipeline.core.config.load import loads
from pipeline.core.config.model import App, Table
from pipeline.core.encode import HEAD
from pipeline.core.partition import Identity, Partition
from scripts.reference.catalogue import Example

TOPICS = {"player": "scores", "machine": "readings"}
"""What the topic of a key's events is called."""

KEYS = {"player": "ada", "machine": "press-1"}
TIME = "t"
"""The field with the time of an event, where an example has one."""

_DIGITS = 6


@dataclass(frozen=True)
class Worked:
    """What an example came to: its configuration, each event's results by field, and those of the queries asked."""

    config: str
    app: App
    results: Sequence[Mapping[str, Any]]
    answers: Sequence[Any]

    @property
    def table(self) -> Table:
        """Its only table."""
        (table,) = self.app.tables.values()
        return table

    @property
    def operators(self) -> Mapping[str, Operator]:
        """Its operators by name."""
        return self.table.operators


def work(example: Example) -> Worked:
    """Run it. Raises AssertionError if an event is refused, ConfigError if the configuration is wrong."""
    config = configuration(example)
    app = loads(config, Path(f"{example.key}.toml"), {})
    stream = app.streams[TOPICS[example.key]]
    partition = Partition(app, stream, 0, 1)
    partition.resume(0, Identity("id", "source", {example.key: "changelog"}, 0, 1_000_000))
    values: list[bytes | None] = [
        msgspec.json.encode({example.key: KEYS[example.key], **event}) for event in example.events
    ]
    count = len(values)
    partition.fold(WireBatch(stream.topic, 0, 0, count, [None] * count, values, list(range(count)), [0] * count))
    state = partition.tables[example.key].state
    row = state.find(KEYS[example.key].encode())
    assert row is not None
    answers = [
        state.memories[example.asked].operator.read(state.memories[example.asked].gather(np.array([row])), query)
        for query in (np.array([query], float) for query in example.queries)
        if example.asked
    ]
    (outputs,) = [append.values for append in partition.cut().appends if append.topic == f"{app.name}-{example.key}"]
    records = [msgspec.json.decode(record or b"") for record in outputs]
    assert len(records) == count, f"{count} events made {len(records)} records"
    results = [{name: part for name, part in record.items() if name not in HEAD} for record in records]
    return Worked(config, app, results, [plain(answer) for answer in answers])


def configuration(example: Example) -> str:
    """A whole configuration file around the example's lines."""
    topic = TOPICS[example.key]
    fields = example.events[0]
    vectors = {name: len(value) for name, value in fields.items() if isinstance(value, list)}
    lines = [
        "[app]",
        'name = "example"',
        f"[streams.{topic}]",
        f'topic = "{topic}"',
        f'key = "{example.key}"',
        *([f'time = "{TIME}"'] if TIME in fields else []),
        *([f"vectors = {{ {', '.join(f'{name} = {size}' for name, size in vectors.items())} }}"] if vectors else []),
        f"[tables.{example.key}]",
        f'stream = "{topic}"',
        f"[tables.{example.key}.operators]",
        example.lines,
    ]
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """A result as a page shows it: six digits of each number, null for what is undefined."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(name)}: {shown(part)}' for name, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if value is None:
        return "null"
    if isinstance(value, int):
        return f"{value}"
    return f"{float(f'{value:.{_DIGITS}g}') + 0.0:.{_DIGITS}g}"


def plain(readout: Any, i: int = 0) -> Any:
    """Row i of a read-out as a record has it: numbers and lists, None for what is undefined."""
    if isinstance(readout, dict):
        return {name: plain(part, i) for name, part in readout.items()}
    part = np.asarray(readout)[i]
    return part.tolist() if np.isfinite(part).all() else None
