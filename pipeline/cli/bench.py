"""`streamfold bench`: what this machine can do."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click


@click.command("bench")
@click.option("--events", type=click.IntRange(min=1_000), default=1_000_000, show_default=True, help="In the topic.")
@click.option("--keys", type=click.IntRange(min=1), default=10_000, show_default=True, help="Distinct keys.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Passes each way.")
@click.option("--broker", metavar="HOST:PORT", help="Use this Kafka instead of the embedded one.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Also write a report, in Markdown.")
@click.option("--chart", type=click.Path(path_type=Path, dir_okay=False), help="Also write a chart, in SVG.")
def command(*, events: int, keys: int, rounds: int, broker: str | None, page: Path | None, chart: Path | None) -> None:
    """Measure the pipeline beside the bare drain of the same topic, and each stage of an event's path.

    Takes two to three minutes at the default size.
    """
    from rich.console import Console  # noqa: PLC0415  `streamfold --help` is to be quick

    from pipeline.edges.bench import report  # noqa: PLC0415
    from pipeline.edges.bench.suite import Suite, Workload  # noqa: PLC0415

    for library in ("kafka", "aiokafka"):
        logging.getLogger(library).setLevel(logging.ERROR)  # their warnings of a start would tear the view
    console = Console()
    results = Suite(Workload(events, keys, rounds), broker, lambda text: console.print(text, style="dim")).run()
    for table in report.tables(results):
        console.print(table)
    if chart is not None:
        chart.write_text(report.chart(results), "utf-8")
    if page is not None:
        image = "" if chart is None else os.path.relpath(chart, page.parent)
        page.write_text(report.page(results, "make bench", image), "utf-8")
