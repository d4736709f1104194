"""Values as people read them: numbers to six digits, times as dates, what is long cut short."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

MOMENT_WIDTH = 23
"""Characters of a time."""

_CELL_WIDTH = 40


def moment(seconds: float) -> str:
    """Unix time as UTC, to the millisecond; a time that no calendar has stays a number."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:MOMENT_WIDTH]
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def cell(value: Any) -> str:
    """Numbers to six digits, what is nested as JSON, cut where it is long; a dash for what is undefined."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(_rounded(value), ensure_ascii=False)
    return text if len(text) <= _CELL_WIDTH else f"{text[: _CELL_WIDTH - 3]}..."


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
