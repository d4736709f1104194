"""The bench measures what it says: its events, its clock, its stages, its report."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from aiokafka import TopicPartition
from kafka.partitioner.default import murmur2

from pipeline.edges.bench import report
from pipeline.edges.bench.load import fill
from pipeline.edges.bench.rounds import Pass, cpu_seconds, drain
from pipeline.edges.bench.stages import STAGES, Stopwatch
from pipeline.edges.bench.suite import MODES, Results, Suite, Workload
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topic_spec import TopicSpec


def burn(seconds: float) -> None:
    """Use that much CPU."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def some_results() -> Results:
    results = Results(Workload(1_000, 10, 3), load=0.5, value_bytes=60_000, partitions=4)
    results.drains = [Pass(1_000, wall, wall / 2) for wall in (0.001, 0.002, 0.004)]
    for mode, slowness in zip(MODES, (4, 2), strict=True):
        results.pipelines[mode] = [Pass(1_000, slowness * wall, wall) for wall in (0.001, 0.002, 0.004)]
        results.stages[mode] = {stage: 1e-6 * number for number, stage in enumerate(STAGES)}
    return results


def test_it_sends_what_it_says_to_where_the_keys_belong(kafka: str, topic_prefix: str) -> None:
    settings = ClientSettings(kafka)
    admin = Admin(settings)
    admin.create([TopicSpec.source(topic_prefix, 3)])
    size = asyncio.run(fill(settings, topic_prefix, 3, events=60_001, keys=500))
    tps = [TopicPartition(topic_prefix, partition) for partition in range(3)]
    ends = {tp: bounds.end for tp, bounds in admin.all_bounds(tps).items()}
    done, batches = asyncio.run(drain(settings, ends))
    admin.delete([topic_prefix])
    admin.close()
    assert done.events == sum(ends.values()) == 60_001
    keys = {(batch.partition, key) for batch in batches for key in batch.keys if key is not None}
    assert all((murmur2(key) & 0x7FFFFFFF) % 3 == where for where, key in keys)
    assert 400 < len(keys) <= 500
    values = [value for batch in batches for value in batch.values if value is not None]
    assert sum(map(len, values)) == size
    events = [msgspec.json.decode(value) for value in values]
    assert len({event["ts"] for event in events}) == 60_001
    assert {event["player"].encode() for event in events} == {key for _, key in keys}


def test_the_stopwatch_gives_each_stage_its_own_time_only() -> None:
    class Engine:
        def outer(self) -> None:
            burn(0.05)
            self.inner()

        def inner(self) -> None:
            burn(0.2)

    engine, watch = Engine(), Stopwatch()
    watch.around(engine, "outer", "fold")
    watch.around(engine, "inner", "key")
    engine.outer()
    burn(0.1)
    assert watch.spent["fold"] >= 0.04
    assert watch.spent["key"] >= 0.19
    assert sum(watch.spent.values()) < 0.3


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc")
def test_cpu_seconds_are_those_of_the_process() -> None:
    before = cpu_seconds(os.getpid())
    burn(0.3)
    after = cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before >= 0.25
    assert cpu_seconds(2**22 + 1) is None


def test_rates_are_medians_with_their_spread_and_share_of_the_limit() -> None:
    limit, every, latest = report.rate_rows(some_results())
    assert limit[1:] == ("500,000", "250,000 - 1,000,000", "1,000,000", "100%")
    assert every[1:] == ("125,000", "62,000 - 250,000", "500,000", "25%")
    assert latest[4] == "50%"


def test_stages_are_nanoseconds_an_event_and_add_up() -> None:
    rows = report.stage_rows(some_results())
    assert [row[0] for row in rows] == ["drain", *STAGES, "total"]
    numbers = [int(row[1].replace(",", "")) for row in rows]
    assert numbers[0] == 1_000
    assert numbers[2] == 1
    assert numbers[-1] == sum(numbers[:-1])


def test_the_page_and_the_chart_hold_the_figures() -> None:
    results = some_results()
    page = report.page(results, "make bench", "chart.svg")
    for row in [*report.rate_rows(results), *report.stage_rows(results)]:
        assert f"| {' | '.join(row)} |" in page
    bars = [
        float(bar.get("width", "")) for bar in ET.fromstring(report.chart(results)).iter() if bar.get("height") == "26"
    ]
    assert bars[0] / bars[1] == pytest.approx(4, rel=0.01)
    assert bars[0] / bars[2] == pytest.approx(2, rel=0.01)


def test_a_small_bench_measures_everything_and_leaves_no_topic(kafka: str) -> None:
    said: list[str] = []
    suite = Suite(Workload(events=20_000, keys=100, rounds=1), kafka, said.append)
    results = suite.run()
    assert said
    assert [done.events for done in results.drains] == [20_000]
    for mode in MODES:
        # What the first commit held is not timed, unless that was all.
        assert all(0 < done.events <= 20_000 for done in results.pipelines[mode])
        assert set(results.stages[mode]) == set(STAGES)
        assert all(seconds > 0 for seconds in results.stages[mode].values())
    admin = Admin(ClientSettings(kafka))
    assert not admin.describe(suite.topics)
    admin.close()


def test_the_command_writes_page_and_chart(kafka: str, tmp_path: Path) -> None:
    page, chart = tmp_path / "page.md", tmp_path / "chart.svg"
    command = [sys.executable, "-m", "pipeline.cli", "bench", "--events", "5000", "--rounds", "1", "--broker", kafka]
    subprocess.run([*command, "--page", str(page), "--chart", str(chart)], check=True, timeout=120)
    assert re.search(r"\| drain alone \| [\d,]+ \|", page.read_text("utf-8"))
    assert "(chart.svg)" in page.read_text("utf-8")
    assert ET.fromstring(chart.read_text("utf-8")).tag.endswith("svg")
