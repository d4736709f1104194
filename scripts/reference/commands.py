"""The reference page of the commands, made from what `--help` is made from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from pipeline.cli import main
from pipeline.cli.main import COMMANDS
from pipeline.errors import InputError, KafkaStateError, RunError
from scripts.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"

_HEAD = """\
# Commands

`streamfold --help` lists them, and `streamfold COMMAND --help` says of one what is said here. Those that show what
runs: [at the terminal](../how-to/terminal.md). Those that mend: [operations](../how-to/operations.md)."""

_DONE = "Done, also after Ctrl-C or TERM with everything drained and committed."
_ABORTED = "Interrupted before it was done: a second Ctrl-C, or one at a question (143 after TERM)."
_MISTAKES = "Errors go to the standard error: a line of cause, then one of what to do about it."
_OPTIONS = ("option", "what")
_DEFAULT = re.compile(r" \[([^\[\]]*)\]$")


def page() -> str:
    """The page's text."""
    commands = {name: command(name) for name in COMMANDS}
    common = set.intersection(*({option.name for option in made.params} for made in commands.values()))
    names = table(("command", "does"), ((f"[`{name}`](#{name})", COMMANDS[name]) for name in commands))
    shared = [option for option in commands["schema"].params if option.name in common]
    parts = [
        _HEAD,
        names,
        f"## What all of them take\n\n{_table(click.Context(main), shared)}",
        f"## Exit codes\n\n{_exit_codes()}\n\n{_MISTAKES}",
        *(part for name, made in commands.items() for part in _section(name, made, common)),
    ]
    return "\n\n".join(parts) + "\n"


def command(name: str) -> click.Command:
    """The command of that name."""
    found = main.get_command(click.Context(main), name)
    assert found is not None, name
    return found


def _exit_codes() -> str:
    errors = (RunError, InputError, KafkaStateError)
    told = [(str(error.exit_code), inspect.cleandoc(error.__doc__ or "")) for error in errors]
    return table(("code", "means"), [("0", _DONE), *told, ("130", _ABORTED)])


def _section(name: str, made: click.Command, common: set[str | None]) -> Iterator[str]:
    context = click.Context(made, info_name=name, parent=click.Context(main, info_name="streamfold"))
    yield f"## {name}"
    yield f"```text\n{made.get_usage(context).removeprefix('Usage: ')}\n```"
    yield from _paragraphs(inspect.cleandoc(made.help or ""))
    own = [param for param in made.params if isinstance(param, click.Option) and param.name not in common]
    if shown := [option for option in own if not option.hidden]:
        yield _table(context, shown)
    if made.epilog:
        yield "\n".join(["```text", *made.epilog.removeprefix("\b\n").splitlines(), "```"])


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield _escaped(" ".join(paragraph.split()))


def _table(context: click.Context, options: list[click.Parameter] | list[click.Option]) -> str:
    return table(_OPTIONS, (_row(context, option) for option in options if isinstance(option, click.Option)))


def _row(context: click.Context, option: click.Option) -> tuple[str, str]:
    """Name and text; a default stands at the end of the text in brackets, as in the help."""
    names = ", ".join(option.opts)
    takes = "" if option.is_flag else f" {option.make_metavar(context)}"
    default = f" [{option.default}]" if option.show_default else ""
    return f"`{names}{takes}`", _DEFAULT.sub(r" Default: `\1`.", _escaped(f"{option.help or ''}{default}"))


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", r"\*")
