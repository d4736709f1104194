"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from pipeline.core.config.model import App


@dataclass(frozen=True)
class Config:
    """A configuration file that was read: where it is, and the app that it describes."""

    path: Path
    app: App


def load_config(file: str) -> Config:
    """Read the file. Raises InputError with a line for each mistake. Operators of one's own may be in this folder."""
    from pipeline.core.config.load import load  # noqa: PLC0415  `streamfold --help` is to be quick

    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    return Config(Path(file), load(file))


class _ConfigFile(click.ParamType):
    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Config:
        """Read it, if it is still a path."""
        return value if isinstance(value, Config) else load_config(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The shell completes names of files."""
        return [CompletionItem(incomplete, type="file")]


class Duration(click.ParamType):
    """Text like ``30s``, which the command gets as seconds."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        from operators.duration import seconds  # noqa: PLC0415  `streamfold --help` is to be quick

        if isinstance(value, float):
            return value
        try:
            return seconds(value)
        except ValueError:
            self.fail(f'found {value}, expected a duration like "30s" or "5m"', param, ctx)


config_file = click.argument("config", metavar="FILE", type=_ConfigFile())
"""The argument FILE: the command's parameter ``config`` is a :class:`Config`."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""The option of every command that reads: the parameter ``as_json``."""
