"""`streamfold init`: a configuration to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from pipeline.errors import InputError


@click.command("init")
@click.argument("file", metavar="[FILE]", default="streamfold.toml", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(file: Path, force: bool) -> None:
    """Write a commented configuration to FILE (streamfold.toml if left out)."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as new:
            new.write(files("pipeline.cli").joinpath("init.toml").read_text(encoding="utf-8"))
    except FileExistsError:
        cause = f"{file} is there already"
        raise InputError(cause, "name another file, or write over it with --force") from None
    except OSError as error:
        cause = f"{file}: {error.strerror}"
        raise InputError(cause, "name a file in a folder that can be written to") from None
    click.echo(f'wrote {file}; now try "streamfold validate {file}", then "streamfold run {file} --embedded"')
