"""The Faust app of the file that the environment names: ``STREAMFOLD_CONFIG=FILE faust -A pipeline.worker:app worker``.

A module of your own can attach agents to it: ``from pipeline.worker import app``, then ``faust -A your_module worker``.
"""

from __future__ import annotations

import os

from pipeline.core.config.load import load
from pipeline.edges.host import FaustApp
from pipeline.edges.host.report import told
from pipeline.errors import InputError


def _app() -> FaustApp:
    file = os.environ.get("STREAMFOLD_CONFIG")
    if not file:
        raise InputError("STREAMFOLD_CONFIG is not set", "set it to the path of your configuration file")
    return FaustApp(load(file))


with told():
    app = _app()
