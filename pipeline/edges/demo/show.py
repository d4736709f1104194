"""Where the demonstration is shown: a terminal that can be redrawn, or anything that takes lines."""

from __future__ import annotations

import io
import re
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.terminal_theme import MONOKAI

from pipeline.edges.demo import view
from pipeline.edges.demo.board import Board

_LINE_SECONDS = 1.0
_PICTURE_WIDTH = 132
_WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Show(ABC):
    """Tells what goes on, then shows the board."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._newest: Board | None = None

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self.console.print(text, style="dim", highlight=False, soft_wrap=True)

    def board(self, board: Board) -> None:
        """Show how things stand."""
        self._newest = board
        self._show(board)

    def picture(self, path: Path) -> None:
        """Save the newest view as SVG, if there is one."""
        if self._newest is not None:
            paper = Console(width=_PICTURE_WIDTH, record=True, file=io.StringIO(), force_terminal=True)
            paper.print(view.live(self._newest))
            drawing = paper.export_svg(title="streamfold demo", theme=MONOKAI)
            path.write_text(_WEB_FONT.sub("", drawing), "utf-8")

    @abstractmethod
    def _show(self, board: Board) -> None: ...

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

    def _show(self, board: Board) -> None:
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self.console.print(view.line(board), highlight=False, soft_wrap=True)


class Screen(Show):
    """A view that is redrawn in place, and stays when it is over."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def _show(self, board: Board) -> None:
        self._live.start()
        self._live.update(view.live(board), refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def show_on(console: Console) -> Show:
    """The show that fits the console."""
    return Screen(console) if console.is_terminal else Lines(console)
