"""The process around the host: signals, the bounded end, and what went wrong as an exception."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import threading
from typing import Any, NoReturn

import faust
from faust.types import AppT
from mode.utils.logging import get_logger

from pipeline.edges.host.report import last_act, told
from pipeline.errors import InputError

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""From the first signal, or from a crash, to the end of the process: the plane's nine seconds and a little."""


class HostWorker(faust.Worker):
    """Faust's worker with the ends that a user of a command expects.

    The first INT or TERM drains, commits and ends with 0; a second one ends the process at once.
    """

    logger = get_logger("faust.worker")

    def __init__(self, app: AppT, *services: Any, **options: Any) -> None:
        super().__init__(app, *services, **options | {"redirect_stdouts": False})
        self.spinner = None
        self._last_resort: threading.Timer | None = None

    def execute_from_commandline(self) -> NoReturn:
        """As `faust -A ... worker` runs it."""
        with told(debug=self.debug), last_act():
            self.execute()
        sys.exit(0)

    def execute(self) -> None:
        """Run until a signal; raises what the worker crashed of.

        Raises:
            InputError: the address that HTTP is to be served on is in use.
        """
        try:
            error = self.loop.run_until_complete(self._live())
        finally:
            self._close_loop()
            if self._last_resort is not None:
                self._last_resort.cancel()
        if error is not None:
            raise error

    def install_signal_handlers(self) -> None:
        """INT and TERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.loop.add_signal_handler(number, self._on_signal, number)

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Leave it: who looks for the process looks for the command as it was typed."""

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signal_stop_future is not None:
            os._exit(128 + number)
        log.info("stopping on %s, once what is folded is committed; another one ends at once", number.name)
        self._schedule_shutdown(number)
        self._bound_the_end()

    async def _live(self) -> BaseException | None:
        error: BaseException | None = None
        self._starting_fut = asyncio.ensure_future(self.start())
        try:
            await self._starting_fut
        except asyncio.CancelledError:
            pass  # given up by a signal
        except OSError as failure:
            error = _port_in_use(self.app, failure) or failure
        except Exception as failure:
            error = failure
        self._bound_the_end()
        await (self._signal_stop_future or self.stop())
        return error or self.crash_reason

    def _bound_the_end(self) -> None:
        """A stop that hangs, whatever it hangs on, is cut: the next owner folds again what is not committed."""
        if self._last_resort is None:
            self._last_resort = threading.Timer(STOP_SECONDS, _cut)
            self._last_resort.daemon = True
            self._last_resort.start()

    def _close_loop(self) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def _port_in_use(app: AppT, error: OSError) -> InputError | None:
    if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
        return None
    address = f"{app.conf.web_bind}:{app.conf.web_port}"
    return InputError(
        f"cannot serve HTTP on {address}: {os.strerror(error.errno).lower()}",
        "end what listens there, or set `http` in [app] to another address",
    )


def _cut() -> None:
    sys.stderr.write(f"error: not stopped within {STOP_SECONDS:.0f} s\nhint: start again, nothing is lost\n")
    sys.stderr.flush()
    os._exit(1)
