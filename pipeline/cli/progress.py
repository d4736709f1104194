"""How far a command is that reads a file and sends what is in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_REDRAW_SECONDS = 0.1


class Progress:
    """A bar on the terminal, nothing elsewhere; ``size`` is that of the file in bytes, None where nobody knows it."""

    def __init__(self, size: int | None, what: str) -> None:
        console = Console(stderr=True)
        known = [BarColumn(), DownloadColumn(), TimeRemainingColumn()] if size else [SpinnerColumn()]
        text = TextColumn("{task.description}")
        self._bar = Bar(*known, text, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=size)
        self._what = what
        self._read = 0
        self._began = self._drawn = time.monotonic()

    def reading(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines, counted."""
        for line in lines:
            self._read += len(line)
            yield line

    def show(self, sent: int) -> None:
        """Draw the bar again, if it is time to."""
        now = time.monotonic()
        if now - self._drawn > _REDRAW_SECONDS:
            self._drawn = now
            self._bar.update(self._task, completed=self._read, description=self.summary(sent))

    def summary(self, sent: int) -> str:
        """``1,200 events to scores in 0.5 s (2,400 a second)``."""
        seconds = time.monotonic() - self._began
        events = "event" if sent == 1 else "events"
        return f"{sent:,} {events} to {self._what} in {seconds:.1f} s ({sent / seconds:,.0f} a second)"

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
