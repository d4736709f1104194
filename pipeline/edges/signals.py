"""Ctrl-C and TERM for commands that hold processes and folders."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """Ctrl-C or TERM: end, and take everything along."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first signal raises Interrupted in the main thread, a second one ends the process at once."""

    def end_now(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, end_now)
        raise Interrupted

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
