"""`streamfold operators`: what a table can remember, and what can be done with each memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from operators.operator import Algebra
from pipeline.cli import complete
from pipeline.cli.options import as_json
from pipeline.core.config.catalogue import MERGE, ORDER, TAKE_BACK, Entry, entries
from pipeline.core.config.problem import unknown
from pipeline.errors import InputError

_WIDE = 1_000
_COLUMNS: dict[str, Mapping[Algebra, str]] = {"merge": MERGE, "take back": TAKE_BACK, "order": ORDER}


@click.command("operators")
@click.argument("name", metavar="[TYPE]", required=False, shell_complete=complete.types)
@as_json
def command(name: str | None, as_json: bool) -> None:
    """List the operators, or tell all about the one that is called TYPE.

    Merge: the memories of two parts of a key's events become one of all of them (yes), only if one part came right
    after the other (in order), or never (no). Take back: an event can be taken out again, as if it had never come.
    Order: in which the events have to come for the same result. Two words: it depends on the options.
    """
    if name is not None:
        entry = _named(name)
        click.echo(_json(entry.plain()) if as_json else "\n".join(_lines(entry)))
    elif as_json:
        click.echo(_json([entry.plain() for entry in entries()]))
    else:
        _print_table()


def _named(name: str) -> Entry:
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        raise InputError(unknown("operator", name, tuple(known)), "`streamfold operators` lists them")
    return known[name]


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _lines(entry: Entry) -> Iterator[str]:
    yield entry.name
    for what, words in _COLUMNS.items():
        yield f"  {what:10} {entry.said(words)}"
    yield ""
    yield entry.doc


def _print_table() -> None:
    """As wide as the terminal; elsewhere as wide as it is."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    table = Table("type", "what it is", *_COLUMNS, box=None, pad_edge=False, header_style="bold")
    for entry in entries():
        table.add_row(entry.name, escape(entry.summary), *map(entry.said, _COLUMNS.values()))
    console.print(table)
