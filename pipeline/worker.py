"""The Faust app of the file that the environment names: ``STREAMFOLD_CONFIG=FILE faust -A pipeline.worker:app worker``.

A module of your own can attach agents to it: ``from pipeline.worker import app``, then ``faust -A your_module worker``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.core.config.load import load
from pipeline.edges.host import FaustApp, logs
from pipeline.edges.host.report import report
from pipeline.errors import InputError

app: FaustApp


def _load() -> None:
    global app  # noqa: PLW0603  the name by which Faust finds it
    file = os.environ.get("STREAMFOLD_CONFIG")
    if not file:
        raise InputError("STREAMFOLD_CONFIG is not set", "set it to the path of your configuration file")
    app = FaustApp(load(Path(file)))


logs.set_up("text", "info", debug=False)
if code := report(_load, debug=False):
    sys.exit(code)
