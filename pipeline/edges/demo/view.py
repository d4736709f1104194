"""The board for the eye: a live view on a terminal, a line a second elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.edges.demo.board import Board
from pipeline.edges.demo.check import TOLERANCE, TableCheck
from pipeline.edges.demo.exact import Event

_PLAYERS = 8
_UP, _DOWN = "green", "red"


def live(board: Board) -> RenderableType:
    """The whole view."""
    return Group(
        _headline(board),
        Columns([_players(board), _stations(board)], padding=(0, 1)),
        Columns([_memories(board), _climate(board)], padding=(0, 1)),
        Text(f"Kafka {board.address} · live at {board.page} · Ctrl-C ends all of it", style="dim"),
    )


def line(board: Board) -> str:
    """The same in one line."""
    vitals = board.vitals
    parts = [
        f"{board.elapsed:5.1f} s",
        f"{board.sent:,} events sent",
        f"{board.published:,} results",
        f"{board.rate:,.0f}/s",
        f"lag {_whole(vitals.lag)}",
        f"commit {_milliseconds(vitals.commit_seconds)}",
    ]
    parts += [f"{r['key']}: {r['games']} games, average {r['average']:.3f}" for r in _busiest(board)[:1]]
    stations = sorted(board.latest.get("station", {}).items())
    parts += [f"{key}: {_number(r['temperature'])} °F on average" for key, r in stations[:1]]
    return " · ".join(parts)


def verdict(checks: Iterable[TableCheck]) -> Table:
    """The comparison of what was read with what it should be."""
    table = Table(title="Read by a second client, against a direct computation over the input", box=box.SIMPLE_HEAD)
    for name in ("table", "keys", "results", "order", "operator", "largest error"):
        table.add_column(name, justify="right" if name in ("keys", "largest error") else "left", no_wrap=True)
    for found in checks:
        results = Text(f"{found.outputs:,} of {found.expected:,}", style=_good(found.outputs == found.expected))
        order = Text(f"{found.misplaced:,} wrong" if found.misplaced else "kept", style=_good(not found.misplaced))
        cells: list[str | Text] = [found.table, f"{found.keys:,}", results, order]
        for operator, error in found.errors.items():
            table.add_row(*cells, operator, Text(f"{error:.1e}", style=_good(error <= TOLERANCE)))
            cells = [""] * len(cells)
        table.add_section()
    return table


def _good(good: bool) -> str:
    return _UP if good else _DOWN


def _headline(board: Board) -> RenderableType:
    vitals = board.vitals
    state = Text(" running ", style="black on green") if vitals.ready else Text(" starting ", style="black on yellow")
    grid = Table.grid(padding=(0, 3))
    figures = [
        ("results/s", f"{board.rate:,.0f}"),
        ("results", f"{board.published:,}"),
        ("events sent", f"{board.sent:,}"),
        ("lag", _whole(vitals.lag)),
        ("commit", _milliseconds(vitals.commit_seconds)),
        ("keys", f"{sum(map(len, (board.latest.get('player', {}), board.latest.get('station', {})))):,}"),
        ("time", f"{board.elapsed:.0f} s"),
    ]
    grid.add_row(state, *(Text.assemble((value, "bold cyan"), (f" {name}", "dim")) for name, value in figures))
    return Panel(grid, title="[bold]streamfold demo[/] · exactly once through a real Kafka", box=box.ROUNDED)


def _players(board: Board) -> RenderableType:
    table = _table("live game scores", "player", "games", "average", "last 20", ".1 .3 .6", "form", "10 s half-life")
    for record in _busiest(board)[:_PLAYERS]:
        average = record["average"]
        moving = [record[name] for name in ("last_20", "weighted", "form", "recent")]
        table.add_row(record["key"], f"{record['games']:,}", f"{average:.3f}", *(_against(average, x) for x in moving))
    return table


def _stations(board: Board) -> RenderableType:
    table = _table("weather readings", "station", "readings", "°F", "24 h", "trend", "gusts", "mbar")
    for key, record in sorted(board.latest.get("station", {}).items()):
        mean = record["temperature"]
        moving = [_against(mean, record[name]) for name in ("day", "trend")]
        table.add_row(
            key,
            f"{record['readings']:,}",
            _number(mean),
            *moving,
            _number(record["gusts"]),
            _number(record["pressure"]),
        )
    return table


def _memories(board: Board) -> RenderableType:
    table = _table(
        "memories of play → gain", "player", "mean play", "mean gain", "newest 32, attended", "all, linear attention"
    )
    styles = board.latest.get("style", {})
    for record in (styles[player["key"]] for player in _busiest(board)[:4] if player["key"] in styles):
        profile = record["profile"]
        vectors = (profile["key"], profile["value"], record["recall"], record["memory"])
        table.add_row(record["key"], *map(_vector, vectors))
    return table


def _climate(board: Board) -> RenderableType:
    table = _table("memories of °F, % → mbar", "station", "mean", "newest 48", "all")
    for key, record in sorted(board.latest.get("climate", {}).items()):
        table.add_row(key, *map(_vector, (record["profile"]["value"], record["recall"], record["memory"])))
    return table


def _busiest(board: Board) -> list[Event]:
    return sorted(board.latest.get("player", {}).values(), key=lambda record: -record["games"])


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _against(mean: float, value: float | None) -> Text:
    if value is None:
        return Text("-")
    return Text(f"{value:.1f}", style=_UP if value >= mean else _DOWN)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _vector(values: list[float] | None) -> str:
    return "-" if values is None else " ".join(f"{value:.2f}" for value in values)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
