"""`streamfold watch`: the committed updates of a table, as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING

import click

from pipeline.cli import complete
from pipeline.cli.options import Config, as_json, config_file
from pipeline.cli.pipe import until_nobody_reads
from pipeline.core.config.problem import unknown
from pipeline.errors import InputError, KafkaStateError

if TYPE_CHECKING:
    from pipeline.edges.kafka.subscribe import Update


@click.command("watch")
@config_file
@click.argument("table", shell_complete=complete.tables)
@click.option(
    "--key",
    metavar="K",
    shell_complete=complete.keys,
    help="Only this key's updates; K is the text that output records show.",
)
@click.option("--from-start", is_flag=True, help="Begin with the oldest update that is kept, not with the next one.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after N updates.")
@as_json
def command(*, config: Config, table: str, key: str | None, from_start: bool, limit: int | None, as_json: bool) -> None:
    """Follow the committed updates of TABLE until Ctrl-C.

    On a terminal in columns; in a pipe, or with --json, each line is an output record, just as it was published.
    """
    from pipeline.cli.updates import Columns, json_line  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.edges.interruptions import Interruptions  # noqa: PLC0415
    from pipeline.edges.kafka.admin import Admin  # noqa: PLC0415
    from pipeline.edges.kafka.client import ClientSettings  # noqa: PLC0415
    from pipeline.edges.kafka.subscribe import Updates  # noqa: PLC0415
    from pipeline.edges.web.keys import keys_named, segment_of  # noqa: PLC0415

    app = config.app
    if table not in app.tables:
        raise InputError(f"TABLE: {unknown('table', table, list(app.tables))}")
    topic = app.output(app.tables[table])
    settings = ClientSettings.of(app)
    with closing(Admin(settings, app.start_timeout)) as admin:
        info = admin.describe([topic]).get(topic)
    if info is None:
        cause = f"topic {topic} does not exist on {app.brokers}: nothing was published yet"
        raise KafkaStateError(cause, "`streamfold run FILE` makes it")
    wanted = None if key is None else keys_named(segment_of(key))
    lines = json_line if as_json or not sys.stdout.isatty() else Columns().lines
    with ExitStack() as stack:
        interruptions = stack.enter_context(Interruptions())
        updates = stack.enter_context(closing(Updates(settings, topic, info.partitions, from_start=from_start)))
        found = (update for update in updates if wanted is None or update.key in wanted)
        _print(islice(interruptions.until(found), limit), lines)


def _print(updates: Iterator[Update], lines: Callable[[Update], str]) -> None:
    with until_nobody_reads():
        for update in updates:
            click.echo(lines(update))
