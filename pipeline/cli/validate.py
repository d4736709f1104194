"""`streamfold validate`: is the file right?"""

from __future__ import annotations

import json

import click

from pipeline.cli.options import as_json, load_config
from pipeline.core.config.model import App
from pipeline.core.config.problem import ConfigError, dotted
from pipeline.core.config.summary import summary


@click.command("validate")
@click.argument("file", metavar="FILE", type=click.Path())
@as_json
@click.pass_context
def command(context: click.Context, file: str, as_json: bool) -> None:
    """Check FILE, and say in a line what it comes to.

    Needs no broker and creates nothing. Each mistake is one line: file, line, path, what was found, what was expected.
    With --json: {"ok": true, "config": ...} with everything that holds, or {"ok": false, "problems": [...]}.
    """
    if not as_json:
        click.echo(f"{file}: ok: {_counts(load_config(file).app)}")
        return
    try:
        answer = {"ok": True, "config": summary(load_config(file).app)}
    except ConfigError as error:
        problems = [{"line": p.line, "path": dotted(p.path), "message": p.message} for p in error.problems]
        answer = {"ok": False, "problems": problems}
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    if not answer["ok"]:
        context.exit(ConfigError.exit_code)


def _counts(app: App) -> str:
    operators = sum(len(table.operators) for table in app.tables.values())
    numbers = ((len(app.streams), "stream"), (len(app.tables), "table"), (operators, "operator"))
    return f"{app.name}: " + ", ".join(f"{number} {what}{'s' if number > 1 else ''}" for number, what in numbers)
