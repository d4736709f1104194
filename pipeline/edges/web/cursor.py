"""Where a listing of keys goes on."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_FORM = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,14})", re.ASCII)

PATTERN = f"^{_FORM.pattern}$"
"""What a cursor looks like."""


class Cursor(NamedTuple):
    """Before this row of this partition of a table: all before it have been listed."""

    partition: int = 0
    row: int = 0

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Of the text of a cursor; None of any other."""
        match = _FORM.fullmatch(text)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.partition}.{self.row}"
