"""The two measurements: over the lifetime of a key, and beside the loops. Each compares what ran side by side."""

from __future__ import annotations

import copy
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from bench.operators.engine import Engine
from bench.operators.loops import Events, Loop
from bench.operators.subjects import MATRICES, NUMBERS, SUBJECTS, Versus, inputs
from operators.columns.grouping import Floats
from pipeline.edges.bench.report import processor

AGES = (1_000, 10_000, 100_000, 1_000_000)
"""Events that a key has had before the ones whose cost is measured."""

BATCH = 1_000
"""Events folded at once while a key grows old, all of them its own."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured: the ages of a key, the batch of many keys beside the loops, how often everything runs."""

    ages: Sequence[int] = AGES
    events: int = 8_192
    keys: int = 1_024
    rounds: int = 31


@dataclass
class Speed:
    """CPU nanoseconds an event, with every event's result and without, in columns and in the loops.

    With an object a key, ``records``, there are always results.
    """

    each: float
    final: float
    loop_each: float
    loop_final: float
    records: float | None = None


@dataclass
class Results:
    """CPU nanoseconds an event by subject: at each age of a key; beside the loops, of numbers and of matrices.

    ``kept`` is what one result costs at each age if all events are kept and gone through; ``machine`` is where it was
    measured.
    """

    sizes: Sizes
    machine: str
    ages: dict[str, list[float]] = field(default_factory=dict)
    kept: dict[str, list[float]] = field(default_factory=dict)
    numbers: dict[str, Speed] = field(default_factory=dict)
    matrices: dict[str, Speed] = field(default_factory=dict)


def measure(sizes: Sizes, say: Callable[[str], None]) -> Results:
    """Measure everything. Takes some minutes."""
    results = Results(sizes, _machine())
    for name in SUBJECTS:
        say(f"age: {name}")
        results.ages[name] = _by_age(name, sizes)
    say("age: everything kept")
    results.kept = _kept(sizes)
    for found, versus in ((results.numbers, NUMBERS), (results.matrices, MATRICES)):
        for name, pair in versus.items():
            say(f"loop: {name}")
            found[name] = _beside_loops(name, pair, sizes)
    return results


def _by_age(name: str, sizes: Sizes) -> list[float]:
    """Let one key grow old, keep copies at each age, and fold the same batch into all of them in turn."""
    rng = np.random.default_rng(1)
    engine, old = Engine(SUBJECTS[name], 1), 0
    rows = np.zeros(BATCH, np.int64)
    aged: list[Engine] = []
    for age in sizes.ages:
        while old < age:
            engine.fold(rows, inputs(BATCH, rng), np.arange(old, old + BATCH, dtype=float), each=True)
            old += BATCH
        aged.append(copy.deepcopy(engine))
    spent: list[list[float]] = [[] for _ in aged]
    columns = inputs(BATCH, rng)
    for _ in range(sizes.rounds):
        for engine, age, seconds in zip(aged, sizes.ages, spent, strict=True):
            one = copy.deepcopy(engine)
            seconds.append(one.fold(rows, columns, np.arange(age, age + BATCH, dtype=float), each=True)[0])
    return [median(seconds) / BATCH * 1e9 for seconds in spent]


def _kept(sizes: Sizes) -> dict[str, list[float]]:
    """What one more result costs if nothing is summed up: the mean of all numbers, attention over all pairs."""
    columns = inputs(max(sizes.ages), np.random.default_rng(2))
    x, k, v = columns["x"], columns["k"], columns["v"]

    def attention(events: int) -> Floats:
        scores = k[:events] @ k[0] / np.sqrt(k.shape[1])
        weights = np.exp(scores - scores.max())
        result: Floats = weights @ v[:events] / weights.sum()
        return result

    ways: Mapping[str, Callable[[int], object]] = {
        "mean of all numbers": lambda events: x[:events].mean(),
        "attention over all pairs": attention,
    }
    return {name: [_seconds(way, age, sizes.rounds) * 1e9 for age in sizes.ages] for name, way in ways.items()}


def _seconds(way: Callable[[int], object], events: int, rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        begin = time.process_time()
        way(events)
        spent.append(time.process_time() - begin)
    return median(spent)


def _beside_loops(name: str, versus: Versus, sizes: Sizes) -> Speed:
    """Fold the same batch, of many keys that already have a past, in columns and in the loops by turns."""
    rng = np.random.default_rng(3)
    rows, columns = rng.integers(0, sizes.keys, sizes.events), inputs(sizes.events, rng)
    times = np.sort(rng.uniform(0, 60, sizes.events))
    listed = Events.of(rows, columns, times)
    engine = Engine(SUBJECTS[name], sizes.keys)
    ways: dict[str, Callable[[], float]] = {
        "each": lambda: engine.fold(rows, columns, times, each=True)[0],
        "final": lambda: engine.fold(rows, columns, times, each=False)[0],
    }
    loop = versus.loop(sizes.keys)
    ways |= {"loop_each": _loop(loop, listed, True), "loop_final": _loop(loop, listed, False)}
    if versus.records is not None:
        ways["records"] = _loop(versus.records(sizes.keys), listed, True)
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(sizes.rounds):
        for way, fold in ways.items():
            fold()  # what the way before it left in the caches is not its own
            spent[way].append(fold())
    return Speed(**{way: median(seconds) / sizes.events * 1e9 for way, seconds in spent.items()})


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{processor()}, {os.cpu_count()} cores; {platform.system()}; Python {platform.python_version()}, "
        f"NumPy {np.__version__}; load before it began: {load:.1f}"
    )


def _loop(loop: Loop, events: Events, each: bool) -> Callable[[], float]:
    def fold() -> float:
        begin = time.process_time()
        loop(events, each)
        return time.process_time() - begin

    return fold
