"""Updates of a table as lines: JSON for programs, columns for people."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pipeline.core.encode import HEAD, key_text
from pipeline.core.shown import MOMENT_WIDTH, cell, moment

if TYPE_CHECKING:
    from pipeline.edges.kafka.subscribe import Update

_KEY_WIDTH = 12
_NUMBER_WIDTH = 12


def json_line(update: Update) -> str:
    """The output record as it was published; ``{"key": ..., "deleted": true}`` for a key that was deleted."""
    if update.value is not None:
        return update.value.decode()
    deleted = {"key": key_text(update.key), "partition": update.partition, "deleted": True}
    return json.dumps(deleted, ensure_ascii=False)


class Columns:
    """Aligned lines with the fields' names above them, again for each screen; a column grows with what is in it."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._widths: list[int] = []
        self._until_header = 0

    def lines(self, update: Update) -> str:
        """The update's line, below the header where one is due."""
        if update.value is None:
            return click.style(f"{key_text(update.key)} deleted", fg="red")
        record: dict[str, Any] = msgspec.json.decode(update.value)
        names = ["key", "time", *(name for name in record if name not in HEAD)]
        if names != self._names:
            self._names, self._until_header = names, 0
            self._widths = [_KEY_WIDTH, MOMENT_WIDTH, *(max(len(name), _NUMBER_WIDTH) for name in names[2:])]
        cells = [record["key"], moment(record["time"]), *(cell(record[name]) for name in names[2:])]
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        key, time, *numbers = self._aligned(cells)
        lines = ["  ".join([click.style(key, fg="cyan"), click.style(time, dim=True), *numbers]).rstrip()]
        if self._until_header == 0:
            lines.insert(0, click.style("  ".join(self._aligned(names)), bold=True))
            self._until_header = max(shutil.get_terminal_size().lines - 2, 1)
        self._until_header -= 1
        return "\n".join(lines)

    def _aligned(self, cells: list[str]) -> list[str]:
        """Names and times to the left, numbers to the right."""
        padded = [cell.ljust(width) for cell, width in zip(cells[:2], self._widths[:2], strict=True)]
        return padded + [cell.rjust(width) for cell, width in zip(cells[2:], self._widths[2:], strict=True)]
