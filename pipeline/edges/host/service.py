"""The data plane as a service of the host."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

from mode import Service
from mode.utils.logging import get_logger

from pipeline.errors import RunError

if TYPE_CHECKING:
    from pipeline.edges.host.app import FaustApp


log = logging.getLogger(__name__)

_QUIET = get_logger("mode.plane")
# mode logs a crash with its traceback; a user is told of it once, when the worker ends.
_QUIET.setLevel(logging.CRITICAL)


class PlaneService(Service):
    """Starts the plane, ends the worker if it crashes, and stops it.

    The service's own task only waits for a crash: mode cancels it as soon as a stop begins, while the plane's drain and
    commits run in tasks of the plane, which its ``stop`` joins.
    """

    logger = _QUIET

    def __init__(self, host: FaustApp) -> None:
        self._host = host
        self._starting: asyncio.Future[None] | None = None
        super().__init__()

    async def on_start(self) -> None:
        """Start the plane; raises what it raises."""
        self._host.announce()
        calm_the_collector()
        self._starting = asyncio.ensure_future(self._host.plane.start())
        await self._starting
        self._host.introduce()

    @Service.task
    async def _run(self) -> None:
        await self._host.plane.run()

    async def on_stop(self) -> None:
        """Commit what is folded and leave the group; a start that is under way is given up."""
        if self._starting is None:
            return
        if not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        tasks = list(self._host.plane.tasks.values())
        await self._host.plane.stop()
        behind = [task.name for task in tasks if task.partition and task.partition.position != task.committed]
        if self.crashed:
            return
        if behind:
            # mode logs and drops what is raised here; a crash reaches the exit code.
            await self.crash(
                RunError(
                    f"stopped before all that was folded could be committed: {', '.join(sorted(behind))}",
                    "see that the broker answers; nothing is lost, the next worker folds it again",
                )
            )
        else:
            log.info("stopped: all that was folded is committed")


def calm_the_collector() -> None:
    """Have Python look for cycles rarely, and never again in what the modules hold.

    A drain makes an object for each record and drops it at once; at Python's own threshold of 700 of them the collector
    would take a tenth of the worker's time, and find nothing. As it looks so rarely, nothing that holds much memory may
    be in a cycle.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
