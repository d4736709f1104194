"""What `top` shows, for the eye: on a terminal and as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.edges.top.figures import Snapshot, StreamFigures, TableFigures, WorkerFigures

WIDTH = 120
"""Columns where nobody says how many there are."""

_STYLES = {"ready": "green", "not ready": "yellow", "gone": "red"}
_BAR_WIDTH = 30
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def view(snapshot: Snapshot) -> RenderableType:
    """All of it, the parts below each other; restores only while there are any."""
    parts = [_headline(snapshot), _streams(snapshot.streams), _tables(snapshot.tables)]
    if any(table.restoring for table in snapshot.tables.values()):
        parts.append(_restores(snapshot.tables))
    parts.append(_workers(snapshot.workers))
    return Group(*(part for table in parts for part in (table, Text())))


def _headline(snapshot: Snapshot) -> RenderableType:
    workers = snapshot.workers.values()
    ready = sum(worker.state == "ready" for worker in workers)
    style = "green" if ready == len(workers) else "yellow" if ready else "red"
    letters = snapshot.dead_letters_per_second
    return Text("   ").join(
        [
            Text(snapshot.app, style="bold"),
            Text(f"{datetime.fromtimestamp(snapshot.time, UTC):%H:%M:%S} UTC", style="dim"),
            Text(f"{ready} of {len(workers)} workers ready", style=style),
            Text(f"dead letters {_rate(letters)}/s", style="red" if letters else ""),
        ]
    )


def _streams(streams: Mapping[str, StreamFigures]) -> Table:
    table = _table("stream", "events/s", "lag", "commit p50", "p99", "latency p50", "p99")
    for name, stream in streams.items():
        commit, latency = stream.commit_seconds, stream.latency_seconds
        durations = map(_duration, (commit.p50, commit.p99, latency.p50, latency.p99))
        table.add_row(escape(name), _rate(stream.events_per_second), _whole(stream.lag), *durations)
    return table


def _tables(tables: Mapping[str, TableFigures]) -> Table:
    table = _table("table", "outputs/s", "keys", "state")
    for name, figures in tables.items():
        table.add_row(
            escape(name), _rate(figures.outputs_per_second), _whole(figures.keys), _bytes(figures.state_bytes)
        )
    return table


def _restores(tables: Mapping[str, TableFigures]) -> Table:
    table = Table("restoring", "", "", box=None, pad_edge=False, header_style="bold")
    for name, figures in tables.items():
        if (restoring := figures.restoring) is not None:
            done = restoring.of - restoring.remaining
            left = "" if restoring.seconds_left is None else f", about {restoring.seconds_left:,.0f} s"
            bar = ProgressBar(total=restoring.of, completed=done, width=_BAR_WIDTH)
            percent = f"{100 * done // restoring.of} %"
            table.add_row(escape(name), bar, f"{percent}, {restoring.remaining:,} records to go{left}")
    return table


def _workers(workers: Mapping[str, WorkerFigures]) -> Table:
    table = Table("worker", "", "", box=None, pad_edge=False, header_style="bold")
    for address, worker in workers.items():
        table.add_row(escape(address), Text(worker.state, style=_STYLES[worker.state]), escape(_remarks(worker)))
    return table


def _remarks(worker: WorkerFigures) -> str:
    remarks = list(worker.reasons)
    if worker.gone_seconds is not None:
        remarks.append(f"no answer for {worker.gone_seconds:,.0f} s")
    if worker.returned:
        remarks.append("came back" if worker.returned == 1 else f"came back {worker.returned} times")
    return "; ".join(remarks)


def _table(name: str, *columns: str) -> Table:
    table = Table(name, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _rate(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s"


def _bytes(number: float) -> str:
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:,.0f} {_UNITS[unit]}" if unit == 0 or number >= 100 else f"{number:.1f} {_UNITS[unit]}"
