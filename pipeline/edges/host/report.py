"""How an error reaches the user of a worker: one line of cause, one of mend, and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from pipeline.errors import RunError, StreamfoldError


def report(work: Callable[[], None], *, debug: bool) -> int:
    """Do ``work``; tell stderr what it fails of. Returns the exit code; with ``debug`` the traceback is shown too."""
    try:
        work()
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        told = error if isinstance(error, StreamfoldError) else _unforeseen(error)
        sys.stderr.write(f"error: {told.cause}\nmend: {told.mend}\n")
        return told.exit_code
    return 0


def _unforeseen(error: Exception) -> RunError:
    return RunError(f"{type(error).__name__}: {error}", "run again with --debug for the traceback")
