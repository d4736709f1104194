"""`streamfold query`: one key of a table, asked of a running worker."""

from __future__ import annotations

import json

import click

from pipeline.cli import complete
from pipeline.cli.options import Config, as_json, config_file


class _Vector(click.ParamType):
    name = "JSON"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """A list of numbers."""
        try:
            numbers = json.loads(value)
            return [float(number) for number in numbers]
        except (TypeError, ValueError):
            self.fail(f"found {value}, expected a list of numbers like [1, 0]", param, ctx)


@click.command("query")
@config_file
@click.argument("table", shell_complete=complete.tables)
@click.argument("key", shell_complete=complete.keys)
@click.option(
    "--operator",
    metavar="NAME",
    shell_complete=complete.operators,
    help="Only this operator's result, read from its memory.",
)
@click.option("--read", "query", metavar="'[1, 0]'", type=_Vector(), help="Ask the operator's memory this query.")
@as_json
def command(
    *, config: Config, table: str, key: str, operator: str | None, query: list[float] | None, as_json: bool
) -> None:
    """Show what TABLE holds for KEY now, and up to which offset that is committed.

    KEY is the text that output records show, base64:... included. Exit code 1 if there is no such key, or no worker.
    """
    from pipeline.edges.web import client  # noqa: PLC0415  `streamfold --help` is to be quick

    known = config.app.tables
    if table not in known:
        raise click.BadParameter(f"found {table}, expected one of {', '.join(known)}", param_hint="TABLE")
    if operator is None:
        if query is not None:
            raise click.UsageError("--read asks one operator: name it by --operator")
        answer = client.entry(config.app, table, key)
    else:
        if operator not in known[table].operators:
            expected = ", ".join(known[table].operators)
            raise click.BadParameter(f"found {operator}, expected one of {expected}", param_hint="--operator")
        answer = client.readout(config.app, table, key, operator, query)
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    width = max(map(len, answer))
    for name, value in answer.items():
        click.echo(f"{click.style(f'{name:{width}}', fg='cyan')}  {json.dumps(value, ensure_ascii=False)}")
