"""The command behind `make fuzz`."""

from __future__ import annotations

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
def main(*, target: str | None, minutes: float, seed: int) -> None:
    """Try inputs that nobody thought of on TARGET, or on all in turn, and end at the first that is not right.

    Its repr is printed; what a run leaves is in .fuzz/.
    """
    if target is None:
        for each in (*GUIDED, *DRAWN):
            command = [sys.executable, "-m", "tests.fuzz", each, f"--minutes={minutes}", f"--seed={seed}"]
            if code := subprocess.run(command, check=False).returncode:
                sys.exit(code)
    elif target in GUIDED:
        from tests.fuzz.guided import fuzz as guided

        guided(target, minutes, seed, FOLDER / target)
    else:
        from tests.fuzz.drawn import fuzz as drawn

        drawn(target, minutes, seed)


main()
