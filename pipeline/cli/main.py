"""`streamfold`: the group of all commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from pipeline.cli.logs import FORMATS, LEVELS, Settings
from pipeline.core.secret import masked
from pipeline.errors import InputError, StreamfoldError

COMMANDS = {
    "run": "Run a pipeline.",
    "validate": "Check a configuration, without a broker.",
    "describe": "Show what a configuration comes to: topics, tables, state.",
    "operators": "List what a table can remember, or tell all about one memory.",
    "query": "Ask a running worker for one key of a table.",
    "top": "See what the running workers do: rates, lag, commits, restores.",
    "watch": "Follow the committed updates of a table.",
    "send": "Send events to a stream's topic.",
    "doctor": "Find what would stop a pipeline, and how to mend it.",
    "reset": "Forget all state, so that the next run starts from the first event.",
    "replay": "Send dead letters back to be folded after all.",
    "broker": "Run an embedded Kafka in the foreground.",
    "demo": "See it work, on real input through a real Kafka.",
    "init": "Write a commented configuration to begin with, also one that fits a file of yours.",
    "schema": "Print the JSON Schema of the configuration file.",
    "bench": "Measure how fast a pipeline is on this machine.",
    "completion": "Print what a shell needs to complete commands, names and keys.",
}
"""Each is ``command`` of the module of its name in this package; the text is its line in the list of commands."""

_ABORTED = 130


def _set(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep what was given at either place: `streamfold --debug run` or `streamfold run --debug`."""
    settings = context.find_root().obj
    if value is not None and parameter.name is not None:
        setattr(settings, parameter.name, value)
        settings.apply()


def _common_options() -> list[click.Parameter]:
    """Those that every command takes; read before all others, so that they hold when another one is wrong."""
    common: dict[str, Any] = {"default": None, "expose_value": False, "is_eager": True, "callback": _set}
    return [
        click.Option(["--debug"], is_flag=True, help="Show tracebacks, and log what libraries say.", **common),
        click.Option(["--log-level", "level"], type=click.Choice(LEVELS), help="Log from this level. [info]", **common),
        click.Option(["--log", "form"], type=click.Choice(FORMATS), help="Log as text or as JSON. [text]", **common),
    ]


class Streamfold(click.Group):
    """A group that knows its commands by name, and ends with the exit codes of :mod:`pipeline.errors`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of the module of that name, with the common options."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"pipeline.cli.{cmd_name}").command
        present = {parameter.name for parameter in command.params}
        command.params += [option for option in _common_options() if option.name not in present]
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, without importing them, and options."""
        names = [CompletionItem(name, help=COMMANDS[name]) for name in COMMANDS if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest name for an unknown one."""
        near = difflib.get_close_matches(args[0], COMMANDS, 1)
        if near and args[0] not in COMMANDS:
            ctx.fail(f'found the unknown command "{args[0]}"; did you mean "{near[0]}"?')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and exit: 0 done, 1 failed, 2 wrong input, 3 the broker's side, 130 interrupted."""
        settings = Settings()
        settings.apply()
        extra |= {"prog_name": "streamfold", "obj": settings, "standalone_mode": False}
        if os.environ.get("NO_COLOR"):
            extra["color"] = False
        try:
            result = super().main(*args, **extra)
        except click.Abort:
            sys.exit(_ABORTED)
        except Exception as error:
            if settings.debug:
                click.echo(masked(traceback.format_exc()), err=True)
            told = _told(error)
            _print(told)
            sys.exit(told.exit_code)
        sys.exit(result if isinstance(result, int) else 0)


def _told(error: Exception) -> StreamfoldError:
    """The error as one that a user is told of."""
    if isinstance(error, StreamfoldError):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "streamfold"
        return InputError(error.format_message(), f'see "{path} --help"')
    if isinstance(error, click.ClickException):
        return InputError(error.format_message())
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return StreamfoldError(f"unexpected {what}", "run it again with --debug for the details, and report them")


def _print(error: StreamfoldError) -> None:
    for line in error.cause.splitlines():
        click.echo(f"error: {masked(line)}", err=True)
    if error.mend:
        click.echo(f"hint: {masked(error.mend)}", err=True)


@click.group(
    cls=Streamfold,
    params=_common_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="streamfold", message="%(prog)s %(version)s")
def main() -> None:
    """Exactly-once stream processing on Kafka: live averages and memories of every key, in columns."""
