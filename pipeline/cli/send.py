"""`streamfold send`: events from a file, or from another program, into a stream's topic."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import click

from pipeline.cli import complete
from pipeline.cli.options import Config, config_file
from pipeline.core.config.problem import unknown
from pipeline.core.record import RecordEncoder
from pipeline.core.written import BadLineError, read_events
from pipeline.errors import InputError

T = TypeVar("T")


@click.command("send")
@config_file
@click.argument("stream", shell_complete=complete.streams)
@click.argument("data", default="-", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--key",
    metavar="FIELD",
    help="The field that becomes the record's key, where the stream names none or is repartitioned.",
)
@click.option(
    "--rate", metavar="N", type=click.FloatRange(min=0, min_open=True), help="Replay: send N events a second."
)
def command(*, config: Config, stream: str, data: str, key: str | None, rate: float | None) -> None:
    """Send the events of DATA to STREAM's topic, in its format; make the topic if it is missing.

    DATA is a file of JSON Lines, or of CSV if its name ends in .csv or .tsv: with a header, by commas, semicolons or
    tabs, numbers as numbers, nothing for an empty cell. Left out, or -, JSON Lines are read from the standard input. A
    bad line ends it with exit code 2; the events before it are sent. So they are after Ctrl-C.
    """
    from pipeline.cli.progress import Progress  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.edges.interruptions import Interruptions  # noqa: PLC0415
    from pipeline.edges.kafka.admin import Admin  # noqa: PLC0415
    from pipeline.edges.kafka.client import ClientSettings  # noqa: PLC0415
    from pipeline.edges.kafka.ingest import Ingest  # noqa: PLC0415
    from pipeline.edges.kafka.topics import make_sources  # noqa: PLC0415

    app = config.app
    if stream not in app.streams:
        raise InputError(f"STREAM: {unknown('stream', stream, list(app.streams))}")
    target = app.streams[stream]
    encoder = RecordEncoder(target, key)
    settings = ClientSettings.of(app)
    with ExitStack() as stack:
        lines = stack.enter_context(click.open_file(data, "rb"))
        with closing(Admin(settings, app.start_timeout)) as admin:
            make_sources(admin, app, [target])
        interruptions = stack.enter_context(Interruptions())
        ingest = stack.enter_context(Ingest(settings, target.topic, app.broker_timeout))
        progress = stack.enter_context(Progress(_size(data), target.topic))
        events = read_events(data, progress.reading(lines), target.vectors)
        try:
            for event in interruptions.until(_paced(events, rate)):
                try:
                    ingest.send(*encoder.encode(event))
                except ValueError as error:
                    raise BadLineError(event.number, str(error)) from None
                progress.show(ingest.sent)
        except BadLineError as bad:
            ingest.flush()
            mend = f"correct the line and send the rest; sent before it: {ingest.sent:,}"
            raise InputError(f"{'stdin' if data == '-' else data}:{bad.number}: {bad.reason}", mend) from None
        ingest.flush()
    outcome = "interrupted, sent" if interruptions.heard else "sent"
    click.echo(f"{outcome} {progress.summary(ingest.sent)}")


def _size(data: str) -> int | None:
    """In bytes, of a regular file."""
    path = Path(data)
    return path.stat().st_size if data != "-" and path.is_file() else None


def _paced(items: Iterable[T], rate: float | None) -> Iterator[T]:
    """The items, not sooner than ``rate`` a second."""
    began = time.monotonic()
    for number, item in enumerate(items):
        if rate is not None and (ahead := began + number / rate - time.monotonic()) > 0:
            time.sleep(ahead)
        yield item
