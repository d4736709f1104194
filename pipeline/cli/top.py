"""`streamfold top`: what the running workers do, as it happens."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import Config, Duration, as_json, config_file
from pipeline.cli.pipe import until_nobody_reads

if TYPE_CHECKING:
    from pipeline.cli.keyboard import Keyboard
    from pipeline.edges.top import Group, Snapshot

_SHORTEST_SECONDS = 0.1


def _checked(context: click.Context, parameter: click.Parameter, seconds: float) -> float:
    if seconds < _SHORTEST_SECONDS:
        raise click.BadParameter("expected at least 100ms")
    return seconds


@click.command("top")
@config_file
@click.option(
    "--interval", metavar="DURATION", type=Duration(), default="1s", callback=_checked, help="Between two looks. [1s]"
)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N looks.")
@as_json
def command(*, config: Config, interval: float, count: int | None, as_json: bool) -> None:
    """Show what the workers of FILE do, until q or Ctrl-C: rates, lag, commits and latency, restores, who is not ready.

    Rates and percentiles are those of the time between two looks. On a terminal a live view; in a pipe the same as
    text, once an interval, the first after one; with --json a line of JSON each. Exit code 1 if no worker answers.

    Workers are found through the group, and on the ports from `http` on.
    """
    from pipeline.cli.keyboard import Keyboard  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.edges.interruptions import Interruptions  # noqa: PLC0415
    from pipeline.edges.top import Group, Members  # noqa: PLC0415

    for clients in ("kafka", "aiokafka", "pipeline.edges.kafka"):
        logging.getLogger(clients).setLevel(logging.CRITICAL)  # a broker that is gone is no news here
    live = not as_json and sys.stdout.isatty()
    with ExitStack() as stack:
        interruptions = stack.enter_context(Interruptions())
        members = stack.enter_context(closing(Members(config.app)))
        group = stack.enter_context(closing(Group(config.app, lambda: members.addresses)))
        keyboard = stack.enter_context(Keyboard())
        snapshots = islice(_snapshots(group, keyboard, interval), 0 if live else 1, None)
        shown = interruptions.until(islice(snapshots, count))
        if live:
            _show(shown)
        else:
            _print(shown, as_json=as_json)


def _snapshots(group: Group, keyboard: Keyboard, interval: float) -> Iterator[Snapshot]:
    """A look each interval, until q."""
    due = time.monotonic()
    yield group.first_look()
    while True:
        due = max(due + interval, time.monotonic())
        if keyboard.pressed("qQ", due - time.monotonic()):
            return
        yield group.look()


def _show(snapshots: Iterator[Snapshot]) -> None:
    from rich.live import Live  # noqa: PLC0415

    from pipeline.cli.top_view import view  # noqa: PLC0415

    first = next(snapshots, None)  # an error is told where it can be read, not on a screen that is gone then
    if first is None:
        return
    with Live(view(first), screen=True, auto_refresh=False) as live:
        for snapshot in snapshots:
            live.update(view(snapshot), refresh=True)


def _print(snapshots: Iterator[Snapshot], *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from pipeline.cli.top_view import WIDTH, view  # noqa: PLC0415

    console = Console(width=WIDTH, highlight=False)
    with until_nobody_reads():
        for snapshot in snapshots:
            if as_json:
                click.echo(msgspec.json.encode(snapshot))
            else:
                console.print(view(snapshot))
            sys.stdout.flush()
