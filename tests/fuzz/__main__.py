"""The command behind `make fuzz`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click

GUIDED = ("decoder", "changelog")
DRAWN = ("config", "http")
FOLDER = Path(".fuzz")


@click.command()
@click.argument("target", type=click.Choice([*GUIDED, *DRAWN]), required=False)
@click.option("--minutes", default=10.0, show_default=True, help="How long each target is tried.")
@click.option("--seed", default=1, show_default=True, help="Draws the inputs.")
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check just the input that decoder or changelog left in this file.",
)
def main(*, target: str | None, minutes: float, seed: int, replay: Path | None) -> None:
    """Try inputs that nobody thought of on TARGET, or on all in turn, and end at the first that is not right.

    Its repr is printed, or it is left in .fuzz/TARGET.
    """
    if target is None:
        for each in (*GUIDED, *DRAWN):
            command = [sys.executable, "-m", "tests.fuzz", each, f"--minutes={minutes}", f"--seed={seed}"]
            if code := subprocess.run(command, check=False).returncode:
                sys.exit(code)
    elif target in DRAWN:
        from tests.fuzz.drawn import fuzz as drawn

        drawn(target, minutes, seed)
    elif replay:
        importlib.import_module(f"tests.fuzz.{target}").run(replay.read_bytes())
    else:
        from tests.fuzz.guided import fuzz as guided

        guided(target, minutes, seed, FOLDER / target)


main()
