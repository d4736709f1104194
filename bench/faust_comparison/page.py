"""The comparison as one table, and the page around it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median

from bench.faust_comparison.contest import CATCH_UP_SECONDS, KEYS, RATE, Outcome
from bench.faust_comparison.contestants import PARTITIONS
from bench.faust_comparison.script import WORKERS, Step
from pipeline.edges.broker.distribution import KAFKA_VERSION
from scripts.markdown import table
from tests.faults.arena import SESSION_SECONDS

HEAD = (
    "",
    "events sent",
    "counted",
    "surplus",
    "loss",
    "results published",
    "missing",
    "repeated",
    "silent after a fault, median",
    "at most",
    "not caught up",
)


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A row for each contestant, under `HEAD`."""
    return [_row(outcome) for outcome in outcomes]


def _row(outcome: Outcome) -> tuple[str, ...]:
    found = outcome.tally
    if found is None:
        return (outcome.title, *["did not start", *["-"] * (len(HEAD) - 2)])
    return (
        outcome.title,
        f"{found.events:,}",
        f"{found.counted:,}",
        f"+{found.surplus:,}" if found.surplus else "0",
        f"-{found.loss:,}" if found.loss else "0",
        f"{found.published:,}",
        f"{found.missing:,}",
        f"{found.repeated:,}",
        f"{median(outcome.silences):.1f} s",
        f"{max(outcome.silences):.1f} s",
        f"{outcome.left:,}",
    )


def page(outcomes: Sequence[Outcome], steps: Sequence[Step], seconds: float, seed: int) -> str:
    """The page, in Markdown."""
    return f"""# The same faults: stock Faust and streamfold

Written by `make compare-faust SEED={seed}`; run it to have your own machine's figures. Three programs count the same
kind of events by key, one after the other, each on topics of its own, while the same is done to their workers.

{table(HEAD, rows(outcomes))}

- **Counted** is the sum of all counts in the table in the end, as a worker that takes over would restore them from the
  changelog. **Surplus** and **loss** are summed over the keys, so they do not cancel out.
- **Results** are the records of the output topic, read under `read_committed`: one for each event, with its key's
  count so far. **Missing** are counts that never came, **repeated** those that came before, or that no key reached.
- **Silent** is how long the partition that fared worst published nothing after a fault; the {SESSION_SECONDS} s for
  which a dead member is waited for are in it. **Not caught up** are events not committed {CATCH_UP_SECONDS:.0f} s after
  the load had ended.

## What was done

{table(("second", "fault", "worker"), ((f"{step.at:.0f}", _WHAT[step.kind], str(step.worker)) for step in steps))}

- **Load**: about {RATE} events a second for {seconds:.0f} seconds, once all workers are in the group; {KEYS} keys over
  {PARTITIONS} partitions, the same keys in the same order for all.
- **Workers**: {WORKERS} processes, on the same machine, with the same session time-out of {SESSION_SECONDS} s; the rest
  of each is as it comes. One that ends by itself is started again.
- **Faust** is its documentation's own: a `Table(default=int)` in memory with its changelog, an agent that adds 1 and
  sends the count: [`faust_app.py`](../bench/faust_comparison/faust_app.py). It runs with
  `processing_guarantee="at_least_once"`, its default, and with `"exactly_once"`.
- **streamfold** is `streamfold run` with a table of one `count`.

## Why

Faust's table, its changelog and the offsets are committed each in their own time. After a kill or a rebalance the
events since the last commit come again, and are added to counts that have them already: at least once, as it says.
Its transactions do not close the gap: records to topics that the app does not read itself are sent outside of them
([issue 177](https://github.com/faust-streaming/faust/issues/177)), and what a rebalance interrupts goes on in a
transaction that is open already ([issue 323](https://github.com/faust-streaming/faust/issues/323)). Here one
transaction carries changelog, results and offset, and the next owner of a partition shuts the last one out before it
reads: [how it is exactly once](explanation/exactly-once.md).

{_notes(outcomes)}## Conditions

{table(("", ""), _conditions())}
"""


_WHAT = {
    "kill -9": "`kill -9`, started again at once",
    "TERM": "TERM, started again when it has ended",
    "pause": f"stopped for {1.5 * SESSION_SECONDS:.0f} s, past the session time-out, then let go on",
}


def _notes(outcomes: Sequence[Outcome]) -> str:
    """What the table does not say: workers that ended by themselves or would not, and their errors."""
    lines = []
    for outcome in outcomes:
        happened = []
        if outcome.ended:
            happened.append(f"workers ended by themselves {outcome.ended} times")
        if outcome.stubborn:
            happened.append(f"workers did not end on TERM and were killed {outcome.stubborn} times")
        happened += [f"`{_short(text)}` (in the log {number} times)" for text, number in outcome.errors]
        lines += [f"- **{outcome.title}**: {'; '.join(happened)}"] if happened else []
    return "\n".join(["## What else was seen", "", *lines, "", ""]) if lines else ""


def _short(text: str) -> str:
    text = text.replace("`", "'")
    return text if len(text) <= 120 else f"{text[:120]} ..."


def _conditions() -> list[tuple[str, str]]:
    return [
        ("machine", f"{os.cpu_count()} cores, shared by workers, broker and load; {platform.system()}"),
        ("load", f"{os.getloadavg()[2]:.1f} processes waiting for a core in the last 15 minutes, these too"),
        ("Kafka", f"{KAFKA_VERSION}, one node, loopback"),
        ("Python", platform.python_version()),
        ("faust-streaming, aiokafka", f"{version('faust-streaming')}, {version('aiokafka')}"),
        ("streamfold", version("streamfold")),
    ]
