"""How a worker's process ends: with an exit code, in time, and saying why."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.secret import masked
from pipeline.errors import RunError, StreamfoldError

_THREADS_SECONDS = 1.0


@contextmanager
def told(*, debug: bool = False) -> Iterator[None]:
    """Of an error in the body, tell stderr the cause and the mend, and exit with its code."""
    try:
        yield
    except Exception as error:
        if debug:
            sys.stderr.write(masked("".join(traceback.format_exception(error))))
        kind = error if isinstance(error, StreamfoldError) else RunError(f"{type(error).__name__}: {error}")
        sys.stderr.writelines(f"error: {masked(line)}\n" for line in kind.cause.splitlines())
        if kind.mend:
            sys.stderr.write(f"hint: {masked(kind.mend)}\n")
        sys.exit(kind.exit_code)


@contextmanager
def last_act() -> Iterator[None]:
    """The body is the last that this process does: afterwards threads that wait for a broker are not waited for."""
    code = 1
    try:
        yield
        code = 0
    except StreamfoldError as error:
        code = error.exit_code
        raise
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        timer = threading.Timer(_THREADS_SECONDS, os._exit, [code])
        timer.daemon = True
        timer.start()
