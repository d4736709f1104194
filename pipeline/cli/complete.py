"""How arguments are completed: by the names in FILE, and by the keys that a worker has.

Whatever goes wrong means no proposal: nobody who presses the tabulator wants to read an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import load_config
from pipeline.errors import StreamfoldError

if TYPE_CHECKING:
    from pipeline.core.config.model import App

_KEYS = 50


def streams(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The streams of FILE."""
    app = _app(context)
    return [] if app is None else _beginning(app.streams, incomplete)


def tables(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The tables of FILE."""
    app = _app(context)
    return [] if app is None else _beginning(app.tables, incomplete)


def operators(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The operators of TABLE."""
    app, table = _app(context), _given(context, "table")
    if app is None or table not in app.tables:
        return []
    return _beginning(app.tables[table].operators, incomplete)


def keys(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Keys of TABLE, if a worker runs."""
    from pipeline.edges.web import client  # noqa: PLC0415  `streamfold --help` is to be quick

    app, table = _app(context), _given(context, "table")
    if app is None or table not in app.tables:
        return []
    try:
        return _beginning(client.keys(app, table, incomplete, _KEYS), incomplete)
    except StreamfoldError:
        return []


def types(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The operators that there are."""
    from operators import TYPES  # noqa: PLC0415  `streamfold --help` is to be quick

    return _beginning(TYPES, incomplete)


def _app(context: click.Context) -> App | None:
    """What FILE describes, if it was given and can be read."""
    config = _given(context, "config")
    try:
        return load_config(config).app if isinstance(config, str) else config.app
    except (StreamfoldError, OSError):
        return None


def _given(context: click.Context, name: str) -> Any:
    """The argument of this name, as text where click did not get round to it; empty text if there is none."""
    if (value := context.params.get(name)) is not None:
        return value
    # Where the last word is an option that waits for its value, click reads no arguments and leaves them all here.
    arguments = [parameter.name for parameter in context.command.params if isinstance(parameter, click.Argument)]
    return dict(zip(arguments, context.args, strict=False)).get(name, "")


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
