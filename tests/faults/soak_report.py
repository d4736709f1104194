"""The report of a soak as a page of the documentation."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pipeline.edges.broker import KAFKA_VERSION
from pipeline.version import VERSION
from tests.faults.chaos import MENDED

SHOWN = 20
_MIB = 1024 * 1024

_PAGE = """\
# A long run under faults

Workers and the broker are struck at random, one fault over another, while events come in: killed, asked to leave,
stopped past their session and woken again, joined by others, restarted, at any time and at each named step of a commit.
A second client (kafka-python, `read_committed`) reads the source and all that comes out of it the whole time, and
compares every single result with an exact fold of the source in plain Python: each accepted event has one result a
table, each bad event one dead letter with its own bytes, nothing twice, nothing missing, every value right. At the end
all topics are read once more from their first records, and one last worker is asked for the state of every key.

Repeat it with `make soak MINUTES={minutes:g} SEED={seed} REPORT=docs/soak.md`: every choice comes from the seed; what
is under way when a fault strikes does not.

| | |
|---|---|
| Duration | {minutes:g} minutes, seed {seed} |
| Machine | {cpus} CPUs, shared with other work |
| Versions | streamfold {version}, Kafka {kafka} (one node), Python {python} |
| Load | {rate:,.0f} events/s, {keys} keys a stream, 1 in 100 bad |
| Events sent | {events:,}, of which {bad:,} bad |
| Results compared | {compared:,} |
| Dead letters compared | {letters:,} |
| Faults | {faults} |
| **Violations** | **{violations}** |
| Recovery: from the end of a burst of faults until all sent by then is out | {bursts} times, median {recovery:.1f} s, \
slowest {slowest:.1f} s |
| Longest time without a new result, faults included | {silence} s |
| Memory of a worker, at most | {peak:.0f} MiB |
| Memory of one worker that was never ended, by quarters of its {lifetime:.0f} minutes | {quarters} MiB |

| fault | times |
|---|---:|
"""


_MENDED = """
*By itself* means: after it had been killed or restarted under load, the broker wrote to its log that it failed to load
the group's offsets from its own topic, and had no coordinator for the group from then on. Before that it had loaded a
part of them only, and taken it for all: offsets that it gives then are of long ago. No worker believed them
([how it is exactly once](explanation/exactly-once.md)); without a coordinator none goes on until the broker is started
again.
"""


@dataclass
class Soak:
    """What happened in a soak."""

    minutes: float
    seed: int
    keys: int
    events: int
    bad: int
    outputs: int
    letters: int
    faults: Mapping[str, int]
    violations: Sequence[str]
    recoveries: Sequence[float]
    silence: int
    peak_bytes: int
    kept_bytes: Sequence[int]
    kept_minutes: float

    def markdown(self) -> str:
        """The page. No violation is left out of the count; the first of them are told."""
        page = _PAGE.format(
            minutes=self.minutes,
            seed=self.seed,
            cpus=os.cpu_count(),
            version=VERSION,
            kafka=KAFKA_VERSION,
            python=platform.python_version(),
            rate=self.events / self.minutes / 60,
            keys=self.keys,
            events=self.events,
            bad=self.bad,
            compared=self.outputs,
            letters=self.letters,
            faults=sum(self.faults.values()),
            violations=len(self.violations),
            bursts=len(self.recoveries),
            recovery=median(self.recoveries),
            slowest=max(self.recoveries),
            silence=self.silence,
            peak=self.peak_bytes / _MIB,
            lifetime=self.kept_minutes,
            quarters=", ".join(f"{quarter / _MIB:.0f}" for quarter in quarters(self.kept_bytes)),
        )
        kinds = sorted(self.faults.items(), key=lambda kind: (-kind[1], kind[0]))
        page += "".join(f"| {kind} | {times} |\n" for kind, times in kinds)
        if self.faults.get(MENDED):
            page += _MENDED
        if self.violations:
            page += "\n## Violations\n\n" + "".join(f"- {violation}\n" for violation in self.violations[:SHOWN])
        return page


def quarters(samples: Sequence[int]) -> list[float]:
    """The median of each quarter of the samples."""
    size = max(1, len(samples) // 4)
    return [median(samples[i * size : (i + 1) * size] or [0]) for i in range(4)]
