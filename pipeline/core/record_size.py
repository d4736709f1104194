"""The largest records that a table can write, computed from its configuration before anything is written.

A record over a topic's limit would fail its commit, and again after every restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from operators.operator import Operator, Readout, Shape
from pipeline.core.changelog import Changelog
from pipeline.core.config.model import Table
from pipeline.core.config.repartition import Hop
from pipeline.core.decode import MAX_KEY_BYTES
from pipeline.core.dedupe import PAGE_BYTES
from pipeline.core.formats.forwarded import ForwardedFormat
from pipeline.core.memory import Memory
from pipeline.core.state import TableState

OVERHEAD = 128
"""An upper bound of what a batch of one record takes besides key and value, in bytes."""

_NUMBER_BYTES = 25  # -2.2250738585072014e-308 and a comma
_HEAD_BYTES = 128
_NAME_BYTES = 64  # the names and brackets inside one operator's result
_KEY_TEXT_FACTOR = 6  # JSON writes a control character as \u0000


def largest_state(table: Table) -> int:
    """Bytes of the largest changelog record, as a record batch of its own."""
    state = TableState(table)
    pages = [pages.page_bytes for memory in state.memories.values() for pages in memory.pages]
    return OVERHEAD + MAX_KEY_BYTES + max([Changelog(state).row_bytes, PAGE_BYTES, *pages])


def largest_output(table: Table) -> int:
    """Bytes of the largest output record, as a record batch of its own."""
    if isinstance(table, Hop):
        return OVERHEAD + 2 * MAX_KEY_BYTES + ForwardedFormat.of(table.target).size
    results = sum(
        2 * (len(name) + _NAME_BYTES) + _NUMBER_BYTES * _numbers(operator, table.shapes(name))
        for name, operator in table.operators.items()
    )
    parts = table.stream.key_parts
    texts = _KEY_TEXT_FACTOR * MAX_KEY_BYTES * (2 if parts else 1)
    names = sum(len(part.encode()) + _NAME_BYTES for part in parts)
    return OVERHEAD + MAX_KEY_BYTES + texts + names + _HEAD_BYTES + results


def _numbers(operator: Operator, shapes: Mapping[str, Shape]) -> int:
    """How many numbers an operator publishes of one key."""
    numbers = 0
    if operator.publish != "state":
        with np.errstate(all="ignore"):
            numbers += _size(operator.read(Memory(operator, shapes).gather(np.zeros(1, np.int64))))
    if operator.publish != "readout":
        layout = operator.layout(shapes)
        numbers += sum(prod(field.shape) for field in layout.fields)
        numbers += sum(ring.length * prod(ring.shape) for ring in layout.rings)
    return numbers


def _size(readout: Readout) -> int:
    parts = readout.values() if isinstance(readout, dict) else (readout,)
    return sum(part.size for part in parts)
