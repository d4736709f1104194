"""Where the demonstration is shown: a terminal that can be redrawn, or anything that takes lines."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from pipeline.edges.demo import view
from pipeline.edges.demo.board import Board

_LINE_SECONDS = 1.0


class Show(ABC):
    """Tells what goes on, then shows the board."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self.console.print(text, style="dim", highlight=False, soft_wrap=True)

    @abstractmethod
    def board(self, board: Board) -> None:
        """Show how things stand."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  nothing to put back, unless a subclass has something
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the terminal back as it was."""


class Lines(Show):
    """A line a second."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._last = 0.0

    def board(self, board: Board) -> None:
        """A line, if the last one is a second old."""
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self.console.print(view.line(board), highlight=False, soft_wrap=True)


class Screen(Show):
    """A view that is redrawn in place, and stays when it is over."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def board(self, board: Board) -> None:
        """Redraw."""
        self._live.start()
        self._live.update(view.live(board), refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def show_on(console: Console) -> Show:
    """The show that fits the console."""
    return Screen(console) if console.is_terminal else Lines(console)
