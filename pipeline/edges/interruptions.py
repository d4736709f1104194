"""Ctrl-C and TERM for a command that takes one item after the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Self, TypeVar

from pipeline.edges.signals import Interrupted

T = TypeVar("T")


class Interruptions:
    """Within it the first signal is heard while :meth:`until` waits for an item, a second one ends the process at once.

    What is done with an item is never cut short: a Kafka client that is interrupted within a batch would leave it torn.
    """

    def __init__(self) -> None:
        self.heard = False
        self._waiting = False

    def until(self, items: Iterable[T]) -> Iterator[T]:
        """The items, up to the first signal."""
        pending = iter(items)
        while (item := self._next(pending)) is not None:
            yield item

    def __enter__(self) -> Self:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._hear) for number in signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _next(self, pending: Iterator[T]) -> T | None:
        try:
            try:
                self._waiting = True
                return None if self.heard else next(pending, None)
            finally:
                self._waiting = False
        except Interrupted:
            return None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            os._exit(128 + number)
        self.heard = True
        if self._waiting:
            raise Interrupted
