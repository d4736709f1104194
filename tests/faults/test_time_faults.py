"""Events late, shuffled and from the future, clocks that step, partitions that fall silent."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import KafkaProducer

from operators import Count, EventRate, Ewma, First, Last, Max, Mean, Min, MovingMean, MovingMin, Operator, Sum
from tests.faults.conftest import SEED
from tests.kafka.pipelines import Site, drained, running, sample, scenario

HALF_LIFE = 20.0
WINDOW = 30.0

ORDER_FREE: dict[str, Operator] = {
    "n": Count(), "sum": Sum(value="x"), "mean": Mean(value="x"), "min": Min(value="x"), "max": Max(value="x"),
    "first": First(value="x"), "last": Last(value="x"), "ewma": Ewma(value="x", half_life="20s"),
    "rate": EventRate(), "moving": MovingMean(value="x", window="30s", max_events=500),
    "least": MovingMin(value="x", window="30s", max_events=500),
}  # fmt: skip

Event = tuple[float, float]
"""A time and a number."""


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Iterator[Site]:
    print(f"replay with SEED={SEED}")
    yield Site(kafka, topic_prefix, partitions=2, time="ts")
    Site.close_all()


def _send(site: Site, key: str, events: list[Event], partition: int = 0) -> None:
    with closing(KafkaProducer(bootstrap_servers=site.kafka)) as producer:
        for when, x in events:
            value = json.dumps({"ts": when, "x": x}).encode()
            producer.send(site.source, value, key.encode(), partition=partition)
        producer.flush()


def expected(events: list[Event]) -> dict[str, float]:
    """What the operators know of these events, in whatever order they came."""
    in_order = sorted(events)
    newest = in_order[-1][0]
    numbers = [x for _, x in events]
    weights = [2.0 ** (-(newest - when) / HALF_LIFE) for when, _ in events]
    window = [x for when, x in events if when > newest - WINDOW]
    return {
        "n": len(events),
        "sum": math.fsum(numbers),
        "mean": math.fsum(numbers) / len(numbers),
        "min": min(numbers),
        "max": max(numbers),
        "first": in_order[0][1],
        "last": in_order[-1][1],
        "ewma": math.fsum(w * x for w, x in zip(weights, numbers, strict=True)) / math.fsum(weights),
        "rate": (len(events) - 1) / (newest - in_order[0][0]),
        "moving": math.fsum(window) / len(window),
        "least": min(window),
    }


def late(events: list[Event]) -> int:
    """How many events the window had passed when they came."""
    newest, number = -math.inf, 0
    for when, _ in events:
        newest = max(newest, when)
        number += when <= newest - WINDOW
    return number


def _history(chance: random.Random, future: int) -> list[Event]:
    """200 events, a second or so apart, at different times; the last ones are years ahead."""
    times = [1.7e9 + n + chance.choice([0.0, 0.25, 0.5]) for n in range(200)]
    times[len(times) - future :] = [4e9 + n for n in range(future)]
    return [(when, chance.uniform(1.0, 2.0)) for when in times]


@pytest.mark.parametrize("future", [0, 2])
def test_operators_that_no_order_matters_to_know_the_same_and_late_events_are_counted(site: Site, future: int) -> None:
    chance = random.Random(SEED)
    events = _history(chance, future)
    shuffled = chance.sample(events, len(events))
    orders = {
        "in-order": events,
        "backwards": events[::-1],
        "shuffled": shuffled,
        "nearly": sorted(events, key=lambda event: event[0] + chance.uniform(0, 60)),
    }
    app = site.app([site.table(operators=ORDER_FREE)])

    async def work() -> None:
        counted = dict.fromkeys(("moving", "least"), 0.0)
        for half in (slice(0, 100), slice(100, None)):  # and a restore in between
            for key, order in orders.items():
                await asyncio.to_thread(_send, site, key, order[half])
            async with running(app) as plane:
                await drained(site, plane)
                for name in counted:
                    counted[name] += sample(plane.metrics, "late_events_total", table="table", operator=name)
        last = {record["key"]: record for record in site.outputs()}
        for key in orders:
            found = {name: last[key][name] for name in ORDER_FREE}
            assert found == pytest.approx(expected(events), rel=1e-12), f"SEED={SEED}: {key}"
        assert set(counted.values()) == {sum(map(late, orders.values()))}
        assert late(orders["backwards"]) > 100
        assert list(site.records(f"{site.name}-dead-letters")) == []

    scenario(work)


def test_a_silent_partition_holds_up_no_window_and_no_drop_of_another(site: Site) -> None:
    table = site.table(operators={"n": Count(), "moving": MovingMean(value="x", window="30s")}, ttl="60s")
    start = 1.7e9
    app = site.app([table])

    async def work() -> None:
        async with running(app) as plane:
            await asyncio.to_thread(_send, site, "silent", [(start, 1.0)], 1)
            await asyncio.to_thread(_send, site, "gone", [(start, 1.0)], 0)
            await asyncio.to_thread(_send, site, "goes-on", [(start + n, float(n)) for n in range(200)], 0)
            await drained(site, plane)
            held = {
                key.decode()
                for task in plane.tasks.values()
                if task.partition is not None
                for key in task.partition.tables["table"].state.index
            }
        assert held == {"silent", "goes-on"}
        records = [(r.key, r.value and json.loads(r.value)) for r in site.records(f"{site.name}-table")]
        assert [key for key, value in records if value is None] == [b"gone"]
        moving = [value["moving"] for key, value in records if key == b"goes-on" and value]
        assert moving[-1] == pytest.approx(math.fsum(range(170, 200)) / 30, abs=0.5)

    scenario(work)


@pytest.mark.parametrize("step", [-86_400.0, 3_000.0])
def test_a_wall_clock_that_steps_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Forward by less than the hour within which brokers take records."""
    events = _history(random.Random(SEED), 0)
    app = site.app([site.table(operators=ORDER_FREE)])
    clock, offset = time.time, 0.0

    async def work() -> None:
        nonlocal offset
        async with running(app) as plane:
            await asyncio.to_thread(_send, site, "k", events[:100])
            await drained(site, plane)
            monkeypatch.setattr(time, "time", lambda: clock() + offset)
            offset = step
            await asyncio.to_thread(_send, site, "k", events[100:150])
            await drained(site, plane)
            offset = 0.0
            await asyncio.to_thread(_send, site, "k", events[150:])
            await drained(site, plane)
        records = list(site.records(f"{site.name}-table"))
        assert [json.loads(record.value)["n"] for record in records] == list(range(1, 201))
        assert json.loads(records[-1].value) | expected(events) == pytest.approx(json.loads(records[-1].value))
        stamps = [record.timestamp / 1000 for record in records]
        assert min(step, 0) - 600 < stamps[120] - stamps[0] < max(step, 0) + 600
        assert abs(stamps[120] - stamps[0]) > 600, "the step was not seen"

    scenario(work)
