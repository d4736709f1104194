"""Reads an output topic to its end, and keeps the newest record of each key."""

from __future__ import annotations

import time
from contextlib import closing
from os import PathLike
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.core.config.load import load
from pipeline.core.config.model import App
from pipeline.core.config.problem import unknown
from pipeline.edges.frame.frame import TableFrame
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.subscribe import Updates
from pipeline.errors import InputError, KafkaStateError, RunError, StreamfoldError


def read_table(
    config: App | str | PathLike[str], table: str, *, timeout: float = 60.0, flatten: bool = True
) -> TableFrame:
    """The latest committed result of each key of a table, read from its output topic as any subscriber would.

    ``config`` is an app, or the path of its file. ``timeout`` is in seconds, for all of it. With ``flatten=False`` a
    nested result stays one column. No worker needs to run. Progress is shown on a terminal and in a notebook.

    Raises:
        InputError: the file is not valid, or has no such table.
        KafkaStateError: the broker does not answer, or nothing was published yet.
        RunError: the topic could not be read to its end in time.
    """
    try:
        app = config if isinstance(config, App) else load(config)
        if table not in app.tables:
            raise InputError(unknown("table", table, list(app.tables)))
        newest = _newest(app, app.output(app.tables[table]), time.monotonic() + timeout, timeout)
    except StreamfoldError as error:
        if error.mend:
            error.add_note(f"hint: {error.mend}")
        raise
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    return TableFrame.of(table, [decode(newest[key]) for key in sorted(newest)], flatten=flatten)


def _newest(app: App, topic: str, deadline: float, timeout: float) -> dict[bytes, bytes]:
    """The newest value of each key that was not deleted since."""
    settings = ClientSettings.of(app)
    with closing(Admin(settings, min(app.start_timeout, timeout))) as admin:
        info = admin.describe([topic]).get(topic)
    if info is None:
        cause = f"topic {topic} does not exist on {app.brokers}: nothing was published yet"
        raise KafkaStateError(cause, "`streamfold run FILE` makes it")
    newest: dict[bytes, bytes] = {}
    with _progress() as bar, closing(Updates(settings, topic, info.partitions, from_start=True)) as updates:
        task = bar.add_task(f"reading {topic}", total=None)
        try:
            for batch, read, total in updates.to_end(deadline):
                for update in batch:
                    if update.value is None:
                        newest.pop(update.key, None)
                    else:
                        newest[update.key] = update.value
                bar.update(task, completed=read, total=total)
        except TimeoutError as error:
            cause = f"topic {topic} was not read to its end within {timeout:g} s: {error}"
            raise RunError(cause, "give a longer timeout") from error
    return newest


def _progress() -> Progress:
    """A bar where somebody looks at it."""
    console = Console(stderr=True)
    seen = console.is_terminal or console.is_jupyter
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not seen)
