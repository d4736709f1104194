"""`streamfold init`: a configuration to begin with."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import unicodedata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.cli.plan import Given, Plan
    from pipeline.cli.survey import Column, Survey

_LONGEST_NAME = 100
_WIDEST_NAME, _WIDEST_EXAMPLE = 24, 32
_EXAMPLES = 3
_DATA = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")


@click.command("init")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "data",
    metavar="DATA",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Begin with averages of this file: CSV if its name ends in .csv or .tsv, else JSON Lines.",
)
@click.option("--key", metavar="FIELD", help="Each of its values has averages; - for one average of everything.")
@click.option("--time", metavar="FIELD", help="When the event was; - for the time at which it is sent.")
@click.option("--values", metavar="FIELDS", help="What to average, by commas.")
@click.option("--window", metavar="N", help="The moving mean is of the last N events, or of a span like 1h. [20]")
@click.option("--yes", is_flag=True, help="Do not ask: take what looks right.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(*, file: Path | None, data: Path | None, yes: bool, force: bool, **answers: str | None) -> None:
    """Write a commented configuration to FILE (streamfold.toml if left out).

    With --from it fits the events of DATA: for each key a mean and a moving mean of every number. On a terminal it asks
    which columns these are, elsewhere it takes what looks right; an option answers its question. FILE is named like
    DATA then, if it is left out: readings.toml for readings.csv.
    """
    if file is not None and file.suffix.lower() in _DATA:
        raise click.UsageError(f"FILE is what is written, {file} looks like data: begin with it by --from {file}")
    if data is None:
        for name, answer in answers.items():
            if answer is not None:
                raise click.UsageError(f"--{name} goes with --from DATA")
        file = file or Path("streamfold.toml")
        _write(file, files("pipeline.cli").joinpath("init.toml").read_text(encoding="utf-8"), force=force)
        click.echo(f'wrote {file}; now try "streamfold validate {file}", then "streamfold run {file} --embedded"')
        return
    from pipeline.cli.plan import Given  # noqa: PLC0415  `streamfold --help` is to be quick

    file = file or Path(f"{_plain(data.stem)}.toml")
    ask = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    _begin(file, data, Given(**answers), ask=ask, force=force)


def _begin(file: Path, data: Path, given: Given, *, ask: bool, force: bool) -> None:
    """Write the configuration that fits the data, and tell what to do with it."""
    from pipeline.cli.begun import begun, in_words  # noqa: PLC0415  `streamfold --help` is to be quick
    from pipeline.cli.plan import plan  # noqa: PLC0415
    from pipeline.cli.survey import survey  # noqa: PLC0415

    if file.exists() and not force:
        raise _there(file)
    found = survey(data)
    _show(data, found)
    made = plan(found, given, ask=ask)
    _warn(found, made)
    run, *use = _commands(file, data, made)
    _write(file, begun(made, _plain(file.stem), [run, *use]), force=force)
    click.echo(f"\nwrote {file}: {in_words(made)}\n\nrun it:")
    program = _program()
    click.secho(f"  {program} {run}", bold=True)
    click.echo("and, while it runs, in another terminal:")
    for line in use:
        click.secho(f"  {program} {line}", bold=True)


def _show(data: Path, survey: Survey) -> None:
    first = "the first " if survey.more else ""
    click.echo(f"{data}: looked at {first}{survey.rows:,} event{'s'[: survey.rows > 1]}")
    width = min(max((len(column.name) for column in survey.columns), default=0), _WIDEST_NAME)
    for column in survey.columns:
        examples = ", ".join(dict.fromkeys(_cut(_text(value)) for value in column.values[:_EXAMPLES]))
        click.echo(
            f"  {click.style(f'{_cut(column.name):{width}}', fg='cyan')}  {_kind(column):8}  {examples}".rstrip()
        )


def _kind(column: Column) -> str:
    if not column.values:
        return "empty"
    if column.looks_like_time:
        return "time"
    if column.is_number:
        return "numbers"
    return "text" if all(isinstance(value, str) for value in column.values) else "other"


def _warn(survey: Survey, plan: Plan) -> None:
    """Of times and numbers that are not taken for such, and of what would become dead letters."""
    dates = [column.name for column in survey.columns if column.looks_like_date and column.time_unit is None]
    if dates and plan.time is None:
        cause = f"{_cut(dates[0])}: no time of the event, for it is not written like 2026-03-01T12:00:00Z"
        click.secho(f"{cause}: the time at which it is sent is taken", fg="yellow")
    for column in survey.columns:
        if column.has_decimal_commas:
            cause = f"{_cut(column.name)}: no numbers, for they have a comma where a point is expected"
            click.secho(f"{cause}: write 21.5 in place of 21,5", fg="yellow")
    for column in plan.values:
        if strays := column.strays:
            what = f"{len(strays):,} that is no number" if len(strays) == 1 else f"{len(strays):,} that are no numbers"
            cause = f"{_cut(column.name)}: has {what}, like {_cut(_text(strays[0]))}"
            click.secho(f"{cause}: such events become dead letters", fg="yellow")


def _commands(file: Path, data: Path, plan: Plan) -> list[str]:
    """To run it, to send the data, to see the averages move, to ask for those of one key."""
    from pipeline.cli.begun import STREAM, TABLE  # noqa: PLC0415  `streamfold --help` is to be quick

    keys = ["all"] if plan.key is None else map(str, plan.key.values)
    key = next((key for key in keys if key.isprintable()), "KEY")
    return [
        shlex.join(["run", str(file), "--embedded"]),
        shlex.join(["send", str(file), STREAM, str(data)]),
        shlex.join(["watch", str(file), TABLE, "--from-start"]),
        shlex.join(["query", str(file), TABLE, key]),
    ]


def _program() -> str:
    """How this command was called."""
    called = Path(sys.argv[0])
    found = shutil.which("streamfold")
    if called.name != "streamfold" or (found is not None and called.absolute() == Path(found).absolute()):
        return "streamfold"
    return shlex.quote(str(called))


def _plain(name: str) -> str:
    """The name, as topics can have it."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", letters).strip("-")[:_LONGEST_NAME] or "streamfold"


def _text(value: object) -> str:
    """As it stands in the file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    """On one line, not too long, and nothing that a terminal would obey."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return text if len(text) <= _WIDEST_EXAMPLE else f"{text[: _WIDEST_EXAMPLE - 3]}..."


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise _there(file) from None
    except OSError as error:
        cause = f"{file}: {error.strerror}"
        raise InputError(cause, "name a file in a folder that can be written to") from None


def _there(file: Path) -> InputError:
    return InputError(f"{file} is there already", "name another file, or write over it with --force")
