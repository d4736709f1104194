"""One worker, from start to end."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from pipeline.core.config.model import App
from pipeline.edges.host.app import FaustApp
from pipeline.edges.host.worker import HostWorker
from pipeline.edges.web.address import Address

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop


def serve(app: App, number: int = 0) -> None:
    """Run the app as worker ``number`` of this machine until INT or TERM: then drain, commit and return.

    Worker i serves HTTP on port + i. A second signal ends the process at once, with 130 or 143. Call it from the main
    thread.

    Raises:
        InputError: the address for HTTP is in use, or a certificate can't be read.
        KafkaStateError: the broker, a topic or its state is not usable.
        RunError: a bad event, and a table says ``on_error = "stop"``.
    """
    if number:
        app = replace(app, http=str(Address.parse(app.http).shifted(number)))
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        HostWorker(FaustApp(app), loop=loop, override_logging=False).execute()
    finally:
        asyncio.set_event_loop(None)
