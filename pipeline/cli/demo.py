"""`streamfold demo`: see it work, on real input through a real Kafka."""

from __future__ import annotations

import logging
from pathlib import Path

import click


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(min=1), help="End after so long, and check every result.")
@click.option("--broker", metavar="HOST:PORT", help="Use this Kafka instead of the embedded one.")
@click.option("--rate", type=click.FloatRange(min=1), default=1_000, show_default=True, help="Game scores a second.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the game scores.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Save the last view, as SVG.")
def command(*, seconds: float | None, broker: str | None, rate: float, seed: int, picture: Path | None) -> None:
    """Run real sensor readings and live game scores through every operator, and watch.

    Without --seconds it goes on until Ctrl-C. With it, everything that was published is read back by a second client
    and compared with a direct computation over the input: exit code 0 if they agree, 1 if not.
    """
    from rich.console import Console  # noqa: PLC0415  `streamfold --help` is to be quick

    from pipeline.edges.demo import view  # noqa: PLC0415
    from pipeline.edges.demo.session import Demo, Interrupted  # noqa: PLC0415
    from pipeline.edges.demo.show import show_on  # noqa: PLC0415
    from pipeline.errors import RunError  # noqa: PLC0415

    for library in ("kafka", "aiokafka"):
        logging.getLogger(library).setLevel(logging.ERROR)  # their warnings of a start would tear the view
    console = Console()
    try:
        with show_on(console) as show:
            checks = Demo(seconds, broker, rate, seed, say=show.say, show=show.board).run()
            if picture is not None:
                show.picture(picture)
    except Interrupted:
        console.print("ended; nothing is left running", style="dim")
        return
    console.print(view.verdict(checks))
    if not all(found.agrees for found in checks):
        cause = "the outputs differ from the direct computation"
        raise RunError(cause, "please report this, with the table above")
    outputs = sum(found.outputs for found in checks)
    console.print(f"{outputs:,} results, each exactly once, in order, and right to 1e-12", style="bold green")
