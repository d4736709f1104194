"""What the meaning of a table's state depends on, as a short hash: state of another fingerprint is never read on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

from operators.operator import Operator
from pipeline.core.config.operator_types import type_name

if TYPE_CHECKING:
    from pipeline.core.config.model import Table

_FORMAT = 1
_DIGITS = 16


def fingerprint(table: Table) -> str:
    """16 hexadecimal digits of the key, the time, the inputs and the operators with all that shapes their state."""
    stream = table.stream
    meaning: dict[str, object] = {
        "format": _FORMAT,
        "key": stream.key,
        "time": [stream.time, stream.time_unit],
        "inputs": sorted(table.inputs.items()),
        "operators": [[name, *_operator(table, name, operator)] for name, operator in table.operators.items()],
    }
    if stream.repartition:
        meaning["repartition"] = "states" if table.two_stage else "events"
    if len(table.streams) > 1:
        meaning["streams"] = [[each.key, each.time, each.time_unit] for each in table.streams]
    text = json.dumps(meaning, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _operator(table: Table, name: str, operator: Operator) -> list[object]:
    options = {
        option.name: getattr(operator, option.name)
        for option in dataclasses.fields(operator)
        if option.name != "publish"
    }
    layout = dataclasses.asdict(operator.layout(table.shapes(name)))
    return [type_name(operator), options, layout]
