"""One worker, from start to end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pipeline.core.config.model import App
from pipeline.edges.host import logs
from pipeline.edges.host.app import FaustApp
from pipeline.edges.host.report import report
from pipeline.edges.host.worker import HostWorker
from pipeline.edges.web.address import Address


def serve(
    app: App, *, number: int = 0, log: logs.LogFormat = "text", log_level: str = "info", debug: bool = False
) -> int:
    """Run the app as worker ``number`` of this machine until a signal ends it; worker i serves HTTP on port + i.

    Returns the exit code: 0 once everything is drained and committed, 1 if it failed while running, 2 if the user's
    input is wrong, 3 if the broker, a topic or its state is not usable; stderr has the cause and the mend.
    """
    logs.set_up(log, log_level, debug=debug)
    if number:
        app = replace(app, http=str(Address.parse(app.http).shifted(number)))

    def run() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        HostWorker(FaustApp(app), loop=loop).execute()

    return report(run, debug=debug)
