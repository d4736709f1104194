"""`streamfold reset`: forget all state, so that the next run starts from the first event."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import Config, config_file
from pipeline.errors import InputError, RunError

if TYPE_CHECKING:
    from pipeline.edges.kafka.reset import Refold, Reset


@click.command("reset")
@config_file
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--outputs", is_flag=True, help="Also delete what was published, dead letters included.")
def command(*, config: Config, yes: bool, outputs: bool) -> None:
    """Forget the state of every table and the offsets, so that the next run starts from the first event.

    Refuses while a worker runs. Source topics stay as they are. Without --outputs so does what was published, and the
    next run publishes it again; with it, the next run makes the output topics anew. A reset that was cut short is
    completed by another one.
    """
    from pipeline.edges.kafka.admin import Admin  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.edges.kafka.client import ClientSettings  # noqa: PLC0415
    from pipeline.edges.kafka.reset import Reset  # noqa: PLC0415

    with closing(Admin(ClientSettings.of(config.app), config.app.start_timeout)) as admin:
        reset = Reset(admin, config.app, outputs=outputs)
        _show(config, reset)
        if not yes:
            _ask()
        _take(list(reset.steps()))


def _take(steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
    """One step after the other, each told when it is done; on a terminal a bar below says which is under way."""
    from rich.console import Console  # noqa: PLC0415  `streamfold --help` is to be quick
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(steps))
        for text, step in steps:
            bar.update(task, description=text, refresh=True)
            step()
            bar.advance(task)
            console.print(f"{text} ... done", markup=False, soft_wrap=True)


def _show(config: Config, reset: Reset) -> None:
    offsets = [f"the offsets of group {config.app.group}"] if reset.committed else []
    doomed = [f"topic {topic}" for topic in (*reset.changelogs, *reset.outputs)] + offsets
    for thing in doomed or ["nothing: there is no state and no offset"]:
        click.echo(f"deletes {thing}")
    for refold in reset.refolds:
        click.echo(_outlook(refold))


def _outlook(refold: Refold) -> str:
    if refold.latest:
        return f'folds nothing of {refold.topic} again: its stream says start = "latest"'
    lost = f"; {refold.gone:,} that were folded are no longer kept" if refold.gone else ""
    return f"folds {refold.events:,} events of {refold.topic} again{lost}"


def _ask() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("a reset needs to be confirmed, and there is no terminal to ask on", "confirm it with --yes")
    if not click.confirm("Go on?"):
        raise RunError("nothing was reset")
