"""`streamfold run`: the pipeline itself, in one process or several."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext

import click

from pipeline.cli.logs import Settings
from pipeline.cli.options import Config, config_file


@click.command("run")
@config_file
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Run N processes; worker i has HTTP port + i.")
@click.option("--embedded", is_flag=True, help="Bring a Kafka along, at the address in `brokers`; data in .streamfold.")
@click.option("--member", type=click.IntRange(min=0), hidden=True)
@click.pass_obj
def command(settings: Settings, config: Config, workers: int | None, embedded: bool, member: int | None) -> int:
    """Fold FILE's streams into its tables, exactly once, until Ctrl-C.

    Ctrl-C or TERM drains, commits and ends with exit code 0; a second one ends at once.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # Until a worker takes over there is nothing to drain, and nothing to end but a Kafka that was brought along.
        # An exception would be lost where Python ignores one, as in a callback of an import.
        signal.signal(number, lambda *_: sys.exit(0) if embedded else os._exit(0))

    from pipeline.edges.host import crew, serve  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.edges.host.embedded import embedded_kafka  # noqa: PLC0415
    from pipeline.edges.host.report import last_act  # noqa: PLC0415

    kafka = embedded_kafka(config.app, config.path) if embedded else nullcontext()
    if workers is not None:
        with kafka:
            return crew.Crew(lambda number: _member(settings, config, number), workers).run()
    if member is not None:
        crew.end_with_parent()
    with last_act(), kafka:
        serve(config.app, member or 0)
    return 0


def _member(settings: Settings, config: Config, number: int) -> list[str]:
    """How to start one of several workers."""
    options = ["--log", settings.form, "--log-level", settings.level, *(["--debug"] if settings.debug else [])]
    return [sys.executable, "-m", "pipeline.cli", "run", str(config.path), "--member", str(number), *options]
