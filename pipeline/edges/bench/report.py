"""The results as tables for a terminal, a page and a chart."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

import aiokafka
import numpy as np
from rich import box
from rich.table import Table

from pipeline.edges.bench.rounds import Pass
from pipeline.edges.bench.stages import STAGES
from pipeline.edges.bench.suite import MODES, Results
from pipeline.edges.broker import KAFKA_VERSION
from pipeline.version import VERSION

_NAMES = {"every": "every event's result", "commit": "each key's latest"}
_WHAT = {
    "drain": "wire batches to lists of keys, values, offsets, timestamps",
    "decode": "JSON to columns, keys, times; every event checked",
    "key": "key to row of the state",
    "fold": "group the batch, fold the operators, check for overflow",
    "encode": "results to output records",
    "cut": "copy what changed, as changelog records",
    "append": "records to wire batches, handed to the sender",
    "commit": "begin, send and await the batches, add the offset, end the transaction",
}

Cell = tuple[str, ...]


def rates(results: Results) -> Iterable[tuple[str, list[Pass]]]:
    """What ran, by name, the limit first."""
    yield "drain alone", results.drains
    for mode in MODES:
        yield _NAMES[mode], results.pipelines[mode]


def rate_rows(results: Results) -> list[Cell]:
    """Name, median rate with least and greatest, rate of CPU, share of the limit."""
    limit = median(done.rate for done in results.drains)
    rows: list[Cell] = []
    for name, passes in rates(results):
        walls = [done.rate for done in passes]
        cpus = [done.rate_of_cpu for done in passes if done.rate_of_cpu is not None]
        spread = f"{_thousands(min(walls))} - {_thousands(max(walls))}"
        per_cpu = _thousands(median(cpus)) if cpus else "-"
        rows.append((name, _thousands(median(walls)), spread, per_cpu, f"{median(walls) / limit:.0%}"))
    return rows


def stage_rows(results: Results) -> list[Cell]:
    """Stage, CPU nanoseconds an event in each mode, what happens there."""
    events = results.workload.events
    drain = median(done.cpu or done.wall for done in results.drains)
    rows: list[Cell] = [("drain", *(_nanoseconds(drain, events) for _ in MODES), _WHAT["drain"])]
    rows += [
        (stage, *(_nanoseconds(results.stages[mode][stage], events) for mode in MODES), _WHAT[stage])
        for stage in STAGES
    ]
    totals = (_nanoseconds(drain + sum(results.stages[mode].values()), events) for mode in MODES)
    return [*rows, ("total", *totals, "")]


RATE_HEAD = ("", "events/s, median", "min - max", "events per CPU-second", "of the limit")
STAGE_HEAD = ("stage", *(f'emit = "{mode}"' for mode in MODES), "what happens")


def tables(results: Results) -> list[Table]:
    """For a terminal."""
    made = []
    for title, head, rows in (
        ("Rates", RATE_HEAD, rate_rows(results)),
        ("CPU nanoseconds an event", STAGE_HEAD, stage_rows(results)),
    ):
        table = Table(title=title, box=box.SIMPLE_HEAD)
        for i, name in enumerate(head):
            table.add_column(name, justify="right" if 0 < i < len(head) - (head is STAGE_HEAD) else "left")
        for row in rows:
            table.add_row(*(cell.replace("`", "") for cell in row))
        made.append(table)
    return made


def page(results: Results, command: str, chart: str) -> str:
    """The page, in Markdown; ``chart`` is the image's address as seen from it."""
    workload = results.workload
    each = results.value_bytes / workload.events
    return f"""# Benchmarks

Written by `{command}`; run it to have your own machine's figures. All that is compared here was measured in one run, on
one machine, over the same topic, pass after pass in turn.

![Events a second]({chart})

## At a glance

{_markdown(RATE_HEAD, rate_rows(results))}

- **Workload**: {workload.events:,} JSON events of {each:.0f} bytes, {workload.keys:,} keys by a Zipf law (1.1),
  {results.partitions} partitions; a count and a compensated mean per key; one worker, one process.
- **Every event's result** is `emit = "every"`: one output record an event. **Each key's latest** is `emit = "commit"`:
  one a touched key and commit (100 ms). Both commit changelog, outputs and offset in one transaction a partition.
- **Drain alone** is the limit: it takes the same records as columns and does nothing with them; the client
  can't be faster.

## Where the time goes

CPU nanoseconds an event, in this process, on the same batches, one transaction a batch of up to 20,000 events.

{_markdown(STAGE_HEAD, stage_rows(results))}

## How it was measured

- {workload.rounds} rounds; in each the drain, then a new app in each mode: `streamfold run` in a process of its own,
  with empty state and topics of its own. Medians, with the least and the greatest.
- The clock runs from the first look that finds events committed until all of the topic is committed, as the broker
  tells it, asked every 50 ms, and counts what is committed in between: starting is not in it, the last commit is.
- CPU seconds are the worker's own, user and system, all threads. The broker's are not in it, but it shares the cores.
- Not measured here: latency, more than one worker, other engines, larger state.

## Conditions

{_markdown(("", ""), _conditions(results))}
"""


def chart(results: Results) -> str:
    """Bars of the median rates with least and greatest, as SVG."""
    bars = [(name.replace("`", ""), [done.rate for done in passes]) for name, passes in rates(results)]
    top = max(max(values) for _, values in bars)
    scale: Callable[[float], float] = lambda rate: 400 * rate / top  # noqa: E731
    parts = []
    for i, (name, values) in enumerate(bars):
        y, mid = 36 + 44 * i, median(values)
        low, high = 230 + scale(min(values)), 230 + scale(max(values))
        parts.append(
            f'<text x="222" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="230" y="{y}" width="{scale(mid):.1f}" height="26" fill="{"#9aa5b1" if i == 0 else "#2f7ed8"}"/>'
            f'<path d="M{low:.1f} {y + 13}H{high:.1f}M{low:.1f} {y + 8}v10M{high:.1f} {y + 8}v10" stroke="#222"/>'
            f'<text x="{max(230 + scale(mid), high) + 8:.1f}" y="{y + 17}">{_thousands(mid)}</text>'
        )
    height = 44 * len(bars) + 44
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" '
        'font-family="sans-serif" font-size="13">'
        f'<rect width="760" height="{height}" fill="#fff"/>'
        '<text x="230" y="22" font-weight="bold">Events a second: median, least and greatest</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _conditions(results: Results) -> list[Cell]:
    return [
        ("machine", f"{processor()}, {os.cpu_count()} cores, shared by worker, broker and bench; {platform.system()}"),
        ("load before it began", f"{results.load:.1f} processes waiting for a core, besides the bench"),
        ("streamfold", VERSION),
        ("Python, NumPy, aiokafka", f"{platform.python_version()}, {np.__version__}, {aiokafka.__version__}"),
        ("Kafka", f"{KAFKA_VERSION}, one node, loopback"),
    ]


def processor() -> str:
    """What the machine computes with."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _markdown(head: Sequence[str], rows: Iterable[Cell]) -> str:
    body = list(rows)
    rule = tuple("---:" if cell[:1].isdigit() else "---" for cell in body[0])
    lines = [head, rule, *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _thousands(rate: float) -> str:
    return f"{round(rate, -3):,.0f}"


def _nanoseconds(seconds: float, events: int) -> str:
    return f"{seconds / events * 1e9:,.0f}"
