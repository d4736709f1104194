"""What a worker says while it runs: lines for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import msgspec

LogFormat = Literal["text", "json"]

_GUESTS = ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp")
"""Their warnings matter; their informative lines don't."""


def set_up(style: LogFormat, level: str, *, debug: bool) -> None:
    """Log to stderr. Tracebacks are shown, and the guests' lines in full, only with ``debug``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(debug) if style == "json" else _Text(debug))
    logging.basicConfig(level="DEBUG" if debug else level.upper(), handlers=[handler], force=True)
    for name in _GUESTS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    # A crash is reported when the worker ends, as a cause and a mend; mode would print its traceback as well.
    logging.getLogger("mode").setLevel(logging.DEBUG if debug else logging.CRITICAL)


class _Text(logging.Formatter):
    def __init__(self, debug: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record if self._debug else _told_in_a_line(record))


class _Json(logging.Formatter):
    def __init__(self, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            entry["error"] = f"{type(error).__name__}: {error}"
            if self._debug:
                entry["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def _told_in_a_line(record: logging.LogRecord) -> logging.LogRecord:
    """The record without its traceback, but with what it ended in."""
    if not record.exc_info:
        return record
    error = record.exc_info[1]
    line = logging.makeLogRecord(record.__dict__)
    line.exc_info = line.exc_text = line.stack_info = None
    line.msg, line.args = f"{record.getMessage()}: {type(error).__name__}: {error}", ()
    return line
