"""`streamfold replay`: dead letters back to where they came from."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

import click

from pipeline.cli import complete
from pipeline.cli.options import Config, config_file
from pipeline.core.config.problem import mismatch, unknown
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.edges.kafka.replay import Report


class _Moment(click.ParamType):
    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Unix milliseconds, of RFC 3339 text or of a duration before now."""
        from operators.duration import seconds  # noqa: PLC0415  `streamfold --help` is to be quick

        if isinstance(value, int):
            return value
        try:
            return round((time() - seconds(value)) * 1000)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            expected = 'a time with its zone, like "2026-03-01T12:00:00Z", or a duration before now, like "2h"'
            raise InputError(f"--since: {mismatch(value, expected)}")
        return max(0, round(moment.astimezone(UTC).timestamp() * 1000))


@click.command("replay")
@config_file
@click.option("--dead-letters", is_flag=True, required=True, help="What is replayed; there is nothing else yet.")
@click.option("--table", metavar="T", shell_complete=complete.tables, help="Only those that this table did not fold.")
@click.option("--reason", metavar="TEXT", help='Only those whose stage and reason hold TEXT, like "missing or null".')
@click.option(
    "--since", metavar="TIME", type=_Moment(), help="Those refused since TIME, also if they were replayed before."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
def command(
    *, config: Config, dead_letters: bool, table: str | None, reason: str | None, since: int | None, dry_run: bool
) -> None:
    """Send dead letters back to their source topic, to be folded by the tables that had refused them.

    Mend what refused them first: what fails again is a dead letter again. Each is sent once, whatever ends this and
    however often it is repeated; with --since also those that were sent before. TIME is 2026-03-01T12:00:00Z, or 2h
    for two hours ago. Ctrl-C ends it after what is under way.
    """
    from rich.console import Console  # noqa: PLC0415  `streamfold --help` is to be quick
    from rich.progress import track  # noqa: PLC0415

    from pipeline.core.config.repartition import rewritten  # noqa: PLC0415
    from pipeline.edges.interruptions import Interruptions  # noqa: PLC0415
    from pipeline.edges.kafka.admin import Admin  # noqa: PLC0415
    from pipeline.edges.kafka.client import ClientSettings  # noqa: PLC0415
    from pipeline.edges.kafka.letter import Filter  # noqa: PLC0415
    from pipeline.edges.kafka.replay import Replayer  # noqa: PLC0415

    app = config.app
    if table is not None and table not in app.tables:
        raise InputError(f"--table: {unknown('table', table, list(app.tables))}")
    app = rewritten(app)
    settings = ClientSettings.of(app)
    tables = app.tables.values()
    with closing(Admin(settings, app.start_timeout)) as admin:
        topics = admin.describe(
            [app.dead_letters, *(table.stream.topic for table in tables), *map(app.changelog, tables)]
        )
    if app.dead_letters not in topics:
        click.echo(f"nothing to replay: topic {app.dead_letters} does not exist")
        return
    with ExitStack() as stack:
        interruptions = stack.enter_context(Interruptions())
        replayer = Replayer(
            settings, app, topics, Filter(table, reason), since=since, dry=dry_run, timeout=app.broker_timeout
        )
        stack.callback(replayer.close)
        console = Console(stderr=True)
        letters = track(
            interruptions.until(replayer.letters()),
            "dead letters",
            replayer.total,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        for part, record in letters:
            replayer.take(part, record)
        replayer.commit()
    did = "would replay" if dry_run else "interrupted, replayed" if interruptions.heard else "replayed"
    _show(replayer.report, did)


def _show(report: Report, did: str) -> None:
    count = report.sent.total()
    topics = ", ".join(f"{number:,} to {topic}" for topic, number in sorted(report.sent.items()))
    click.echo(f"{did} {count:,} dead {'letter' if count == 1 else 'letters'}{topics and ': '}{topics}")
    for why, number in report.reasons.most_common():
        click.echo(f"  {number:,} of {why}")
    if report.repeated:
        click.echo(f"{report.repeated:,} of them had been replayed by a run before")
    if report.failed_again:
        click.echo(f"{report.failed_again:,} of them had failed again after a replay, one {report.most:,} times")
    for why, number in report.left.most_common():
        click.echo(f"left {number:,}, which {why}")
