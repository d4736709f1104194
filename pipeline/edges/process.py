"""A `streamfold run` of our own: a child process that ends with this one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from pipeline.edges.broker.child import Child
from pipeline.errors import RunError

_END_SECONDS = 12.0


class Worker:
    """Runs a configuration with some variables of the environment set; writes what it says to a log in ``folder``.

    The folder is a temporary one: should this process be killed, it goes with the worker.
    """

    def __init__(self, config: Path, environment: Mapping[str, str], folder: Path) -> None:
        self.log = folder / "worker.log"
        # -P: a folder named pipeline where the user happens to be is not ours.
        command = [sys.executable, "-P", "-m", "pipeline.cli", "run", str(config)]
        self._child = Child(command, self.log, folder, {**os.environ, **environment})

    def check(self) -> None:
        """Raises RunError, with the last words of the worker, if it has ended."""
        if (status := self._child.poll()) is not None:
            raise RunError(f"the pipeline ended with exit code {status}: {self._last_words()}")

    def await_ready(self, page: str, seconds: float) -> None:
        """Return once it takes events. Raises RunError if it ends, or takes too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            try:
                with urlopen(f"{page}/readyz", timeout=1):
                    return
            except (HTTPError, URLError, OSError):
                time.sleep(0.05)
        raise RunError(f"the pipeline was not ready within {seconds:.0f} s: {self._last_words()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def stop(self) -> None:
        """Ask it to finish what it folded, and wait. Raises RunError if it did not end well."""
        self.check()
        self._child.terminate(_END_SECONDS)
        if status := self._child.poll():
            raise RunError(f"the pipeline ended with exit code {status}: {self._last_words()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.terminate(_END_SECONDS)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or "it wrote nothing"
