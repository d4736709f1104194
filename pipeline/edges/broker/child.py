"""A child process that ends with its owner, however the owner ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_KILL_SECONDS = 10.0


class Child:
    """``command`` in a session of its own, writing to ``log``; see `launcher` for how it is tied to this process.

    ``scratch`` is a folder that the watchdog removes if this process is gone before it said a word; ``environment``
    and ``folder``, the working directory, take the place of this process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        scratch: Path | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal reaches the owner alone, which ends this after its own work.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(scratch or ""), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
                cwd=folder,
            )

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        return self._process.wait(timeout)

    def terminate(self, timeout: float) -> None:
        """Ask it to end, kill it if it has not after ``timeout`` seconds."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it if it still runs, and dismiss the watchdog. May be called again."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(_KILL_SECONDS)
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(b".")
                pipe.close()
            except BrokenPipeError:  # the watchdog was killed before
                pass
