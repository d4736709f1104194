"""The tests' own worker: the product's, but at a named point of the protocol it kills itself (`KILL_AT`, `KILL_ON`).

`KILL_BY` is another signal than KILL, `TRANSACTION_SECONDS` another time-out of its transactions. Product code has no
hooks; the points are the methods of the numbered steps. SIGUSR1 has it say what each of its tasks waits for.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from mode.utils.tracebacks import print_task_stack

from pipeline.core.changelog import Changelog
from pipeline.core.config.load import load
from pipeline.core.partition import Partition
from pipeline.edges.host import serve
from pipeline.edges.kafka import world
from pipeline.edges.kafka.commit import Committer
from pipeline.edges.kafka.producer import Deadlines
from pipeline.edges.kafka.task import Task
from pipeline.errors import StreamfoldError

BEFORE, AFTER = False, True

POINTS: dict[str, tuple[type, str, bool]] = {
    "after fold": (Partition, "fold", AFTER),
    "after cut": (Partition, "cut", AFTER),
    "after begin": (Committer, "begin", AFTER),
    "mid-transaction": (Committer, "write", AFTER),
    "after acknowledgement": (Committer, "acknowledge", AFTER),
    "before commit": (Committer, "end", BEFORE),
    "after commit": (Committer, "end", AFTER),
    "mid-restore": (Changelog, "apply", AFTER),
    "mid-revoke": (Task, "park", BEFORE),
}


def die() -> None:
    """kill -9, or what else is asked for."""
    os.kill(os.getpid(), int(os.environ.get("KILL_BY", signal.SIGKILL)))


def kill_at(point: str, call: int) -> None:
    """Kill the process at the n-th call of the point's method."""
    owner, name, after = POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls == call

    if inspect.iscoroutinefunction(original):

        async def patched_async(*args: Any, **kwargs: Any) -> Any:
            now = due()
            if now and not after:
                await asyncio.sleep(0)
                die()
            result = await original(*args, **kwargs)
            if now:
                die()
            return result

        setattr(owner, name, patched_async)
        return

    def patched(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if due():
            die()
        return result

    setattr(owner, name, patched)


def tell_tasks(number: int, frame: FrameType | None) -> None:
    """What each task waits for."""
    for task in asyncio.all_tasks():
        print_task_stack(task, file=sys.stderr, capture_locals=False)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell_tasks)
    if point := os.environ.get("KILL_AT"):
        kill_at(point, int(os.environ.get("KILL_ON", "5")))
    if seconds := os.environ.get("TRANSACTION_SECONDS"):
        vars(world)["Deadlines"] = partial(Deadlines, transaction=float(seconds))
    try:
        serve(load(Path(sys.argv[1])))
    except StreamfoldError as error:
        sys.stderr.write(f"error: {error.cause}\nhint: {error.mend}\n")
        sys.exit(error.exit_code)
