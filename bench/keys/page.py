"""The figures as a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version

from bench.keys.measure import AGAIN, NEW, PARTITIONS, Results
from pipeline.edges.broker.distribution import KAFKA_VERSION
from scripts.markdown import Cells, table

HEAD = ("what one worker does", "seconds", "processor seconds", "memory at most", "memory afterwards", "bytes a key")


def rows(results: Results) -> Iterable[Cells]:
    """A row for each phase, under `HEAD`."""
    yield ("nothing yet", "-", "-", "-", _mega(results.empty), "-")
    for phase in results.phases:
        yield (
            phase.what,
            f"{phase.seconds:.1f}",
            f"{phase.cpu:.1f}",
            _mega(phase.peak),
            _mega(phase.after),
            f"{(phase.after - results.empty) / results.keys:.0f}",
        )


def page(results: Results) -> str:
    """The page, in Markdown."""
    keys = results.keys
    return f"""# {keys:,} keys in one worker

Written by `make bench-keys KEYS={keys}`; run it to have your own machine's figures. How to keep a table from growing so
large: [bound the state](how-to/bound-the-state.md).

{table(HEAD, rows(results))}

- **Workload**: keys of 16 bytes, over {PARTITIONS} partitions; a table of one `mean`, `emit = "commit"`, the rest as it
  comes. All keys are new at first; then one worker after the other goes on from its predecessor's changelog.
- **Memory** is what the whole process holds of the machine's. The most of it is asked of the system, not sampled;
  folding and committing go on at once, so both are in it. **Bytes a key** are of what is held afterwards, without what
  the worker held before the first key. The columns of state are {results.state / keys:.0f} bytes of these.
- **Seconds** of a restore are from the start of the process until it takes events: joining the group is in it. The
  others are from the first event to the last commit.

## One key too many

- With `max_keys = {keys // PARTITIONS:,}`, which is what each partition has, and `on_full = "stop"`, one more key ended
  the worker with exit code 1: `{results.refused}`
- With `on_full = "evict"` it went on from there. {results.brought:,} new keys came, one for {NEW} that were there:
  {results.evicted:,} were evicted, and {results.left:,} were left.
- One in {AGAIN} keys had had a second event before, so that the changelog had more records than keys.

## Conditions

{table(("", ""), _conditions())}
"""


def _mega(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _conditions() -> list[tuple[str, str]]:
    return [
        ("machine", f"{os.cpu_count()} cores, shared by worker, broker and bench; {platform.system()}"),
        ("load", f"{os.getloadavg()[2]:.1f} processes waiting for a core in the last 15 minutes, the bench's too"),
        ("streamfold", version("streamfold")),
        ("Python, NumPy", f"{platform.python_version()}, {version('numpy')}"),
        ("Kafka", f"{KAFKA_VERSION}, one node, loopback"),
    ]
