"""`streamfold completion`: what a shell needs to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_NAME = "streamfold"
_VARIABLE = "_STREAMFOLD_COMPLETE"

SHELLS = {
    "bash": 'eval "$(streamfold completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(streamfold completion zsh)" in ~/.zshrc, below compinit',
    "fish": "streamfold completion fish > ~/.config/fish/completions/streamfold.fish",
}
"""Each with the line that switches it on."""


@click.command("completion", epilog="\b\n" + "\n".join(f"{shell:4}  {line}" for shell, line in SHELLS.items()))
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands, options, files, and the names that FILE holds.

    Streams, tables and operators come from FILE, keys from a worker that runs. Switch it on by one line:
    """
    kind = get_completion_class(shell)
    assert kind is not None, "the shells that are offered are click's"
    script = kind(context.find_root().command, {}, _NAME, _VARIABLE).source()
    click.echo(f"{script.strip()}\n# {SHELLS[shell]}")
