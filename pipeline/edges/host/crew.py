"""Several workers on one machine: child processes that end with the one that started them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from pipeline.edges.host.worker import STOP_SECONDS

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_SOUND_SECONDS = 60.0
_SIGNALLED = 128

Command = Callable[[int], Sequence[str]]
"""How to start worker ``number``."""


@dataclass
class _Member:
    """One worker; ``pause`` is how long to wait before it is started again when it is killed."""

    number: int
    process: subprocess.Popen[bytes]
    started: float
    pause: float = _FIRST_PAUSE


class Crew:
    """Starts workers, restarts those that are killed, and ends them all when one fails or a signal says so."""

    def __init__(self, command: Command, size: int) -> None:
        self._command = command
        self._size = size
        self._signal: int | None = None
        self._members: list[_Member] = []

    def run(self) -> int:
        """Until a signal, or until a worker fails. Returns the exit code: 0, or that of the worker."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._members = [_Member(number, self._start(number), time.monotonic()) for number in range(self._size)]
        try:
            code = self._watch()
        finally:
            codes = self._end()
        return code or max(codes, default=0)

    def _watch(self) -> int:
        """Until a signal, or until all have ended (0), or one has failed (its code)."""
        while self._signal is None and self._members:
            for member in list(self._members):
                code = member.process.poll()
                if code == 0:
                    self._members.remove(member)
                elif code is not None and 0 < code < _SIGNALLED:
                    return code
                elif code is not None:
                    self._restart(member)
            time.sleep(_LOOK_SECONDS)
        return 0

    def _restart(self, member: _Member) -> None:
        """After a pause that grows while it keeps being killed."""
        lived = time.monotonic() - member.started
        if lived < member.pause:
            return
        log.warning("worker %s was killed; starting it again", member.number)
        member.pause = _FIRST_PAUSE if lived > _SOUND_SECONDS else min(2 * member.pause, _LONGEST_PAUSE)
        member.process, member.started = self._start(member.number), time.monotonic()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in a terminal reaches this process alone, which passes it on once.
        return subprocess.Popen(self._command(number), stdin=subprocess.PIPE, start_new_session=True)

    def _end(self) -> list[int]:
        """Have them drain and commit. Returns their exit codes, 1 for one that was killed."""
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS + 1
        codes = []
        for member in self._members:
            try:
                codes.append(member.process.wait(max(0.0, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                member.process.kill()
                codes.append(member.process.wait())
        # TERM kills a worker that has not begun: it had nothing to drain.
        return [0 if code == -signal.SIGTERM else 1 if code < 0 else code for code in codes]

    def _tell(self, number: int) -> None:
        for member in self._members:
            if member.process.poll() is None:
                member.process.send_signal(number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            self._tell(signal.SIGKILL)
            os._exit(_SIGNALLED + number)
        self._signal = number


def end_with_parent() -> None:
    """In a member: drain and end when the crew's process is gone, kill -9 included.

    Standard input is a pipe that the crew holds open; its end says so.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS + 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
