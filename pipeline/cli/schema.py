"""`streamfold schema`: the configuration file's JSON Schema."""

from __future__ import annotations

import json

import click

from pipeline.core.config.schema import schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema (2020-12) of the configuration file, for completion and checks in an editor.

    With a schema saved beside the file, "#:schema ./streamfold.schema.json" as its first line is all that editors with
    TOML support need.
    """
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
