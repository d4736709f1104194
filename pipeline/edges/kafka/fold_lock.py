"""Who may touch a partition's state: one who changes it or takes long over it, and short looks between two such."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

_LOOKS_SECONDS = 0.001
"""For which looks that have waited are taken in one turn of the event loop."""


class FoldLock(AbstractAsyncContextManager[None]):
    """A lock whose holders may await; a look is taken on the event loop at once, or as soon as a holder lets go.

    If those who look queued up for an ordinary lock, each would have it for a turn of the loop, and a fold or a commit
    behind them would wait for as many turns as there are readers.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._looks: deque[Callable[[], object]] = deque()

    async def __aenter__(self) -> None:
        """Wait for the holders before."""
        await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let those look who waited, then the next holder."""
        self._lock.release()
        self._take_looks()

    async def look(self, work: Callable[[], T]) -> T:
        """What ``work`` finds, which is not to take long."""
        if not self._lock.locked():
            return work()
        seen: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def take() -> None:
            if seen.done():  # who asked is gone
                return
            try:
                seen.set_result(work())
            except Exception as error:
                seen.set_exception(error)

        self.look_soon(take)
        return await seen

    def look_soon(self, work: Callable[[], object]) -> None:
        """Have ``work`` done, which is not to take long and may not raise, at once or as soon as a holder lets go."""
        if self._lock.locked():
            self._looks.append(work)
        else:
            work()

    def _take_looks(self) -> None:
        until = time.monotonic() + _LOOKS_SECONDS
        while self._looks and not self._lock.locked():
            self._looks.popleft()()
            if self._looks and time.monotonic() > until:
                asyncio.get_running_loop().call_soon(self._take_looks)
                return
