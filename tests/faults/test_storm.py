"""Workers that come and go every few seconds: exact results, and metrics of what each one owns and of nothing else."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.faults.arena import PARTITIONS, TABLES, Arena, until
from tests.faults.web import get

TABLES_OF = {stream: [table for table, source in TABLES.items() if source == stream] for stream in PARTITIONS}

STORM = ((1, "joins"), (2, "joins"), (1, "leaves"), (1, "joins"), (2, "leaves"), (1, "leaves"))

SAMPLE = re.compile(r"^streamfold_(\w+)\{(.*partition=.*)\} ", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')

OF_TABLES = ("keys", "restore_remaining_events")


def owned(port: int) -> Counter[tuple[str, str, str]]:
    """Each label set with a partition that a worker shows: metric; stream, topic or table; partition."""
    found: Counter[tuple[str, str, str]] = Counter()
    for metric, labels in SAMPLE.findall(get(port, "/metrics")):
        of = dict(LABEL.findall(labels))
        partition = of.pop("partition")
        (whose,) = of.values()
        found[metric, whose, partition] += 1
    return found


def all_label_sets(arena: Arena) -> Counter[tuple[str, str, str]]:
    """What all workers together have to show: each partition once."""
    of_each = {
        stream: [("events_total", stream), ("lag_events", f"{arena.source}-{stream}")]
        + [(metric, table) for table in TABLES_OF[stream] for metric in OF_TABLES]
        for stream in PARTITIONS
    }
    return Counter(
        (*metric, str(partition))
        for stream, count in PARTITIONS.items()
        for partition in range(count)
        for metric in of_each[stream]
    )


def expect_each_partition_once(arena: Arena) -> None:
    """No worker shows what another owns, or nobody."""
    expected, shown = all_label_sets(arena), Counter[tuple[str, str, str]]()

    def once() -> bool:
        shown.clear()
        for number in arena.workers:
            try:
                shown.update(owned(arena.ports[number]))
            except OSError:  # it has not begun to serve
                return False
        return shown == expected

    try:
        until(once, 120, "each partition shown once")
    except AssertionError as error:
        raise AssertionError(f"too many: {shown - expected}; too few: {expected - shown}\n{arena.log()}") from error


@pytest.mark.timeout(300)
def test_from_one_worker_to_three_and_back_every_few_seconds(arena: Arena, expect_exact: Callable[[], None]) -> None:
    arena.start(0)
    with arena.load(rate=500):
        expect_each_partition_once(arena)
        for number, what in STORM:
            time.sleep(arena.random.uniform(2, 5))
            if what == "joins":
                arena.start(number)
            else:
                arena.kill(number, signal.SIGTERM)
                # One that has not begun is just killed by it.
                assert arena.wait(number) in (0, -signal.SIGTERM), arena.log()
                del arena.workers[number]
            if len(arena.workers) in (1, 3):
                expect_each_partition_once(arena)
    arena.drained(revive=False)
    assert arena.workers[0].poll() is None
    expect_exact()
