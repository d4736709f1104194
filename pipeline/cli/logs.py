"""What a command logs, and how: to stderr, as text or as one JSON object a line."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.core.secret import mask_logs, masked

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_NO_COORDINATOR = ("Group Coordinator Request failed", "Marking the coordinator dead")
_LASTING_SECONDS, _EPISODE_SECONDS = 5.0, 30.0


@dataclass
class Settings:
    """The options that every command takes."""

    debug: bool = False
    level: str = "info"
    form: str = "text"

    def apply(self) -> None:
        """Set up logging. Libraries are heard from warnings on, unless ``debug``."""
        mask_logs()
        handler = logging.StreamHandler()
        handler.setFormatter((_Json if self.form == "json" else _Text)(self.debug))
        if not self.debug:
            handler.addFilter(_Lasting())
        level = logging.DEBUG if self.debug else getattr(logging, self.level.upper())
        logging.basicConfig(handlers=[handler], level=level if self.debug else max(level, logging.WARNING), force=True)
        for ours in ("pipeline", "operators"):
            logging.getLogger(ours).setLevel(level)
        # It warns of each step of its loop that takes more than 0.1 s: nothing that a user of a busy machine can mend.
        logging.getLogger("kafka.net.selector").setLevel(logging.DEBUG if self.debug else logging.ERROR)


class _Lasting(logging.Filter):
    """Lets through that a group has no coordinator only if that lasts: the first group of a broker waits for one."""

    def __init__(self) -> None:
        super().__init__()
        self._first = self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is news."""
        if record.name != "aiokafka.consumer.group_coordinator" or not str(record.msg).startswith(_NO_COORDINATOR):
            return True
        if record.created - self._last > _EPISODE_SECONDS:
            self._first = record.created
        self._last = record.created
        return self._last - self._first > _LASTING_SECONDS


class _Lines(logging.Formatter):
    """Tracebacks only for those who asked; all others get the exception in a few words."""

    def __init__(self, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """RFC 3339, UTC."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def formatException(self, ei: object) -> str:  # noqa: N802
        """The traceback, or one line."""
        if self._debug:
            return masked(super().formatException(ei))  # type: ignore[arg-type]
        error = ei[1] if isinstance(ei, tuple) else None
        return masked(" ".join(f"{type(error).__name__}: {error}".split()))


class _Text(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        return f"{line}\n  {self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
