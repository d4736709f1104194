"""What the meaning of a table's state depends on, as a short hash: state of another fingerprint is never read on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

from operators.operator import Operator
from pipeline.core.config.operator_types import type_name
from pipeline.core.expression import canonical

if TYPE_CHECKING:
    from pipeline.core.config.model import Stream, Table

_FORMAT = 1
_DIGITS = 16


def fingerprint(table: Table) -> str:
    """16 hexadecimal digits of the key, the time, the inputs and the operators with all that shapes their state.

    What is selected and which events are folded belong to it, as far as the table reads it.
    """
    stream = table.stream
    meaning: dict[str, object] = {
        "format": _FORMAT,
        "key": stream.key if table.key is None else table.key,
        "time": [stream.time, stream.time_unit],
        "inputs": sorted(table.inputs.items()),
        "operators": [[name, *_operator(table, name, operator)] for name, operator in table.operators.items()],
    }
    if stream.repartition:
        meaning["repartition"] = "states" if table.two_stage else "events"
    if len(table.streams) > 1:
        meaning["streams"] = [[each.key, each.time, each.time_unit, _chosen(table, each)] for each in table.streams]
    elif chosen := _chosen(table, stream):
        meaning["chosen"] = chosen
    text = json.dumps(meaning, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _chosen(table: Table, stream: Stream) -> dict[str, object]:
    choice = stream.choice
    where = frozenset[str]() if choice.where is None else choice.where.names
    key = stream.key if table.key is None else table.key
    read = {*table.inputs, *([key] if isinstance(key, str) else key or []), *where}
    texts = {f"select {name}": text for name, text in stream.select.items() if name in read}
    if stream.where is not None:
        texts["where"] = stream.where
    return {what: canonical(text) for what, text in texts.items()}


def _operator(table: Table, name: str, operator: Operator) -> list[object]:
    options = {
        option.name: getattr(operator, option.name)
        for option in dataclasses.fields(operator)
        if option.name != "publish"
    }
    layout = dataclasses.asdict(operator.layout(table.shapes(name)))
    return [type_name(operator), options, layout]
