"""What goes wrong with a task: after which pause it tries again, and when it has been long enough."""

from __future__ import annotations

import asyncio
import logging
import time

from pipeline.edges.kafka.backoff import Backoff
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.errors import Fenced, TransactionError
from pipeline.edges.kafka.world import World
from pipeline.errors import KafkaStateError, RunError

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 5
_AGAIN_SECONDS = 0.1
_RESTART_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0


class Troubles:
    """The troubles of one task since it last got on."""

    def __init__(self, name: str, committer: Committer, world: World) -> None:
        self._name = name
        self._committer = committer
        self._world = world
        self._since: float | None = None
        self._retries = Backoff(_AGAIN_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._restarts = Backoff(_RESTART_SECONDS, _LONGEST_PAUSE_SECONDS)

    async def stumble(self, trouble: Exception) -> None:
        """Something went wrong on the way to the broker: abort the transaction, and wait a little.

        Raises:
            KafkaStateError: it has gone wrong for ``broker_timeout``, or it is a trouble that does not pass.
        """
        await self._committer.abandon()
        self._world.metrics.stumbled(trouble)
        now = time.monotonic()
        self._since = self._since or now
        if isinstance(trouble, TransactionError) and trouble.lasting:
            raise KafkaStateError(f"{self._name}: {trouble}", trouble.mend) from trouble
        if now - self._since > self._world.app.broker_timeout:
            raise KafkaStateError(
                f"{self._name}: no progress for {self._world.app.broker_timeout:.0f} s: {trouble}",
                "see that the broker is up and reachable; raise broker_timeout if it may be away longer",
            ) from trouble
        log.warning("%s: %s; trying again", self._name, trouble)
        beat = self._world.app.session_timeout / 5
        pause = self._retries.failed()
        # Who fenced us commits soon, or is fenced in its turn: two that hurry would do nothing else.
        await asyncio.sleep(beat + pause if isinstance(trouble, Fenced) else pause)

    async def start_over(self, error: BaseException) -> None:
        """Something that nobody foresaw: abort the transaction, and wait before the state is restored.

        Raises:
            RunError: it keeps happening.
        """
        await self._committer.abandon()
        pause = self._restarts.failed()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        if self._restarts.failures >= FAILURES_IN_A_ROW:
            raise RunError(
                f"{self._name} failed {self._restarts.failures} times in a row, at last with an unexpected {what}",
                "nothing is lost or half committed; run with --debug for the details, and report them",
            ) from error
        log.warning("%s: unexpected %s; restoring it", self._name, what, exc_info=log.isEnabledFor(logging.DEBUG))
        await asyncio.sleep(pause)

    def begin_anew(self) -> None:
        """What was before is not counted as time without progress."""
        self._since = None

    def overcome(self) -> None:
        """There is progress."""
        self._since = None
        self._retries.succeeded()
        self._restarts.succeeded()
