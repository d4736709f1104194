"""What is wrong with an expression, and where in it."""

from __future__ import annotations

import json

_LONGEST = 60


class ExpressionError(ValueError):
    """An expression that is refused: ``column`` is the place of the mistake in its text, from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


def shown(text: str) -> str:
    """A part of an expression in quotation marks, cut if long."""
    return json.dumps(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...", ensure_ascii=False)
