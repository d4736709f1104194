"""What a configuration comes to: topics, operators, state. Plain data, without secrets."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from operators.operator import Field, Layout, Operator, Ring
from pipeline.core.config.model import App, Stream, Table
from pipeline.core.config.operator_types import type_name
from pipeline.core.config.option import options_of
from pipeline.core.secret import MASK, Secret

GUARANTEE = "exactly once"


def summary(app: App) -> dict[str, Any]:
    """The whole app, ready for JSON. Durations are in seconds, sizes in bytes."""
    nested = {"tables", "streams", "kafka"}
    settings = {name: _open(getattr(app, name)) for name in options_of(App) if name not in nested}
    return settings | {
        "guarantee": GUARANTEE,
        "dead_letters": app.dead_letters,
        "kafka": None if app.kafka is None else _given(app.kafka),
        "streams": {name: _stream(app, stream) for name, stream in app.streams.items()},
        "tables": {name: _table(app, table) for name, table in app.tables.items()},
    }


def state_bytes(table: Table) -> int:
    """What the operators of a table keep for one key."""
    return sum(operator_bytes(table, name) for name in table.operators)


def operator_bytes(table: Table, name: str) -> int:
    """What one operator keeps for one key."""
    return layout_bytes(table.operators[name].layout(table.shapes(name)))


def layout_bytes(layout: Layout) -> int:
    """What a layout takes for one key."""
    return sum(map(_field_bytes, layout.fields)) + sum(map(_ring_bytes, layout.rings))


def operator_options(operator: Operator) -> dict[str, Any]:
    """The options of an operator that aren't at their defaults."""
    return {
        option.name: value
        for option in dataclasses.fields(operator)
        if (value := getattr(operator, option.name)) != option.default
    }


def _field_bytes(field: Field) -> int:
    return math.prod(field.shape) * np.dtype(field.dtype).itemsize


def _ring_bytes(ring: Ring) -> int:
    return ring.length * math.prod(ring.shape) * np.dtype(np.float64).itemsize


def _given(options: object) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in options_of(type(options))}
    return {name: _open(value) for name, value in values.items() if value is not None}


def _open(value: object) -> object:
    return MASK if isinstance(value, Secret) else value


def _stream(app: App, stream: Stream) -> dict[str, Any]:
    options = {name: getattr(stream, name) for name in options_of(Stream) if name != "name"}
    reads = {field: shape[0] if shape else 1 for field, shape in app.fields_read(stream).items()}
    return options | {"reads": reads}


def _table(app: App, table: Table) -> dict[str, Any]:
    nested = {"name", "stream", "streams", "operators", "output", "dedupe"}
    return {
        "stream": table.stream.name,
        "streams": [stream.name for stream in table.streams],
        "output": app.output(table),
        "changelog": app.changelog(table),
        "repartition": app.repartition(table) if table.stream.repartition else None,
        "two_stage": table.two_stage,
        **{name: getattr(table, name) for name in options_of(Table) if name not in nested},
        "dedupe": None if table.dedupe is None else _given(table.dedupe),
        "fingerprint": app.fingerprint(table),
        "state_bytes": state_bytes(table),
        "operators": {
            name: {"type": type_name(operator), "algebra": operator.algebra, **operator_options(operator)}
            for name, operator in table.operators.items()
        },
    }
