"""Numbers at the ends of what a double holds, through Kafka: exact, or a dead letter; what is kept stays finite."""

from __future__ import annotations

import asyncio
import json
import math
import random
import struct
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest

from operators import Count, Max, Mean, Min, MovingMean, Operator, Sum, Var
from tests.faults.conftest import SEED
from tests.kafka.pipelines import Site, drained, running, sample, scenario

NUMBERS: tuple[float | int, ...] = (
    0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-300, 0.1, 1.0, 1e150, 1e308, -1e308, 1.7e308, -1.7e308,
    2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 2**64 + 1, -(2**63) - 1, 10**30,
)  # fmt: skip
LARGEST = Fraction(sys.float_info.max)
NO_NUMBERS = (math.nan, math.inf, -math.inf)

LINEAR: dict[str, Operator] = {
    "n": Count(), "sum": Sum(value="x"), "mean": Mean(value="x"), "min": Min(value="x"), "max": Max(value="x"),
    "last": MovingMean(value="x", window=3),
}  # fmt: skip
SQUARE: dict[str, Operator] = {"var": Var(value="x", ddof=0)}

ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "json": lambda x: json.dumps({"x": x}).encode(),
    "msgpack": lambda x: msgspec.msgpack.encode({"x": x if -(2**63) <= x < 2**64 else float(x)}),
    "float64": lambda x: struct.pack("<d", x),
}


@pytest.fixture
def site(kafka: str, topic_prefix: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    print(f"replay with SEED={SEED}")
    options: dict[str, Any] = {"fields": ["x"]} if request.param == "float64" else {}
    yield Site(kafka, topic_prefix, format=request.param, **options)
    Site.close_all()


def _total(numbers: list[Fraction]) -> Fraction:
    return sum(numbers, Fraction(0))


def _size(numbers: list[Fraction]) -> Fraction:
    return _total([abs(number) for number in numbers])


def _close(found: float, exact: Fraction, size: Fraction) -> bool:
    return abs(Fraction(found) - exact) <= size / 10**12 + Fraction(5e-324)


class Exact:
    """What a key has to show after each event, in fractions."""

    def __init__(self) -> None:
        self.numbers: list[Fraction] = []

    def may_overflow(self, x: float) -> bool:
        """Whether adding it, or taking out of the window what it displaces, can pass what a double holds."""
        return abs(_total(self.numbers)) + abs(Fraction(x)) + _size(self.numbers[-3:]) > LARGEST

    def take(self, x: float) -> None:
        self.numbers.append(Fraction(x))
        assert abs(_total(self.numbers)) <= LARGEST

    def shows(self, record: dict[str, float]) -> bool:
        """Whether an output record has the result of the event taken last."""
        numbers, last = self.numbers, self.numbers[-3:]
        return (
            record["n"] == len(numbers)
            and (record["min"], record["max"]) == (float(min(numbers)), float(max(numbers)))
            and _close(record["sum"], _total(numbers), _size(numbers))
            and _close(record["mean"], _total(numbers) / len(numbers), _size(numbers))
            and _close(record["last"], _total(last) / len(last), _size(last))
        )


@pytest.mark.parametrize("site", ENCODERS, indirect=True)
def test_every_number_is_exact_or_a_dead_letter_and_the_state_stays_finite(site: Site) -> None:
    chance = random.Random(SEED)
    # Twice 1e308 is too much in any order; so is its square.
    numbers = [*NUMBERS, 1e308, 1e308, *NO_NUMBERS, *chance.choices((*NUMBERS, *NO_NUMBERS), k=150)]
    app = site.app([site.table("linear", operators=LINEAR), site.table("square", operators=SQUARE)])
    encode = ENCODERS[str(site.stream.format)]

    async def work() -> None:
        values = [encode(x) for x in numbers]
        refused = 0.0
        for part in (values[: len(values) // 2], values[len(values) // 2 :]):  # and a restore in between
            await asyncio.to_thread(site.send_raw, part)
            async with running(app) as plane:
                await drained(site, plane)
                partition = plane.tasks[site.tp()].partition
                assert partition is not None
                for table in partition.tables.values():
                    for memory in table.state.memories.values():
                        assert all(np.isfinite(field).all() for field in memory.fields.values())
                refused += sample(plane.metrics, "dead_letters_total", stage="fold", reason="overflow")

        letters = {(dict(r.headers).get("table"), int(dict(r.headers)["offset"])): r for r in _letters(site)}
        assert refused == sum(dict(letter.headers)["stage"] == b"fold" for letter in letters.values())
        results = {t: {record["offset"]: record for record in site.outputs(t)} for t in ("linear", "square")}
        exact, squares = Exact(), list[Fraction]()
        for offset, x in enumerate(numbers):
            if not math.isfinite(x):
                assert letters.pop((None, offset)).value == values[offset]
                assert offset not in results["linear"]
                continue
            if letter := letters.pop((b"linear", offset), None):
                assert letter.value == values[offset]
                assert exact.may_overflow(float(x)), f"SEED={SEED}: {x} at {offset}"
            else:
                exact.take(float(x))
                assert exact.shows(results["linear"].pop(offset)), f"SEED={SEED}: {x} at {offset}"
            if abs(x) <= 1e150:
                squares.append(Fraction(float(x)))
                mean = _total(squares) / len(squares)
                size = _total([(y - mean) ** 2 for y in squares]) / len(squares)
                assert _close(results["square"].pop(offset)["var"], size, size + mean**2), f"SEED={SEED}: {x}"
            else:
                assert letters.pop((b"square", offset)).value == values[offset]
        assert letters == results["linear"] == results["square"] == {}
        assert refused > 0
        assert len(exact.numbers) > 100

    scenario(work)


def _letters(site: Site) -> list[Any]:
    return list(site.records(f"{site.name}-dead-letters"))
