"""Single keys, while something is shown on the terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any, Self


class Keyboard:
    """Within it keys are heard as they are pressed; nothing is heard where standard input is no terminal."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def pressed(self, wanted: str, seconds: float) -> bool:
        """Wait so long for one of the ``wanted`` characters. Returns at once when there is one."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._before is None:
                time.sleep(left)
            elif select.select([sys.stdin], [], [], left)[0] and self._read() in wanted:
                return True
        return False

    def _read(self) -> str:
        key = os.read(sys.stdin.fileno(), 1)
        if not key:
            self._restore()  # the terminal is gone; asked again it would answer at once, for ever
        return key.decode("ascii", "replace") or " "

    def _restore(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
