"""A real Prometheus scrapes a worker: every panel of every dashboard has data, and alerts fire for real faults."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from pipeline.core.config.load import load
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import transactional_id
from pipeline.edges.kafka.producer import TransactionalProducer
from scripts.dashboards import FOLDER
from tests.kafka.pipelines import running, scenario
from tests.kafka.pipelines import until as joined
from tests.kafka.process import ask, end, until
from tests.kafka.watched import Site
from tests.programs import installed
from tests.prometheus import concrete

METRICS = Path(__file__).parent.parent.parent / "docs" / "reference" / "metrics.md"
DASHBOARDS = sorted((FOLDER / "grafana").glob("*.json"))
LOAD_SECONDS = 8.0


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Loaded for some seconds, then at rest."""
    installed("prometheus", "prometheus")
    site = Site(kafka, tmp_path_factory.mktemp("prometheus"), partitions=2)
    with site.watched():
        began = time.time()
        site.load(LOAD_SECONDS)
        site.loaded = (began, time.time())
        yield site


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_query_of_every_panel_has_data_with_the_labels_of_its_legend(path: Path, site: Site) -> None:
    dashboard = json.loads(path.read_text("utf-8"))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.findall(r"^label_values\((.*), (\w+)\)$", variable["query"]["query"])[0]
            assert site.prometheus.label_values(concrete(series), label, *site.loaded), variable["name"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found = site.prometheus.ask_range(concrete(target["expr"], "10s", cumulative="average"), *site.loaded)
            where = f"{path.name}, {panel['title']}: {target['expr']}"
            assert found, f"no data: {where}"
            assert any(math.isfinite(float(value)) for series in found for _, value in series["values"]), where
            named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            assert all(named <= series["metric"].keys() for series in found), where


def test_values_of_listed_keys_are_those_that_the_worker_tells(site: Site) -> None:
    _, entry = ask(site.port, "/tables/player/bob")

    def shown() -> dict[str, float]:
        found = site.prometheus.ask('streamfold_value{table="player", key="bob"}')
        return {series["metric"]["operator"]: float(series["value"][1]) for series in found}

    told = {name: entry[name] for name in ("games", "average", "last_3", "recent", "spread")}
    until(lambda: shown() == pytest.approx(told), 60, f"{told} is shown")


def test_every_metric_of_a_running_worker_is_documented_and_the_other_way_round(site: Site) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| .* \|$", METRICS.read_text("utf-8"), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    served = {}
    for family in text_string_to_metric_families(ask(site.port, "/metrics")[1]):
        if family.name.startswith("streamfold_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            served[family.name + ("_total" if family.type == "counter" else "")] = (family.type, labels)
    assert served == documented


# Alerts


def test_dead_letters_were_told_of_and_are_over(site: Site) -> None:
    told = 'max_over_time(ALERTS{alertname="StreamfoldDeadLetters", alertstate="firing"}[5m])'
    until(lambda: site.prometheus.ask(told) != [], 60, "the alert")
    (alert,) = site.prometheus.ask(told)
    assert (alert["metric"]["stage"], alert["metric"]["severity"]) == ("decode", "warning")
    until(lambda: not site.fired("StreamfoldDeadLetters"), 60, "the alert is over")


async def steal(site: Site) -> None:
    """Take a partition's transactions over: the worker is fenced with its next commit."""
    thief = await TransactionalProducer.fence(
        ClientSettings(site.kafka), transactional_id(site.name, TopicPartition(site.topic, 0))
    )
    await thief.close()
    await asyncio.to_thread(site.load, 0.1)


def test_a_fence_and_a_storm_of_rebalances_are_told_of(site: Site) -> None:
    """Somebody takes the partition's transactions over, and another member comes and goes."""
    wanted = {"StreamfoldFenced", "StreamfoldRebalanceStorm"}

    async def come_and_go() -> None:
        async with running(load(site.file, {})) as guest:
            await joined(lambda: guest.consumer.current_assignment() is not None, "the guest joined", guest)

    async def trouble() -> None:
        await steal(site)
        seen: set[str] = set()
        while not seen >= wanted:
            await come_and_go()
            seen |= {alert for alert in wanted if site.fired(alert)}

    assert not any(site.fired(alert) for alert in wanted)
    scenario(trouble)
    until(lambda: not any(site.fired(alert) for alert in wanted), 60, "the alerts are over")


async def take_and_give_back(site: Site) -> None:
    """Another member takes one of the two partitions over, commits, and leaves: the worker restores it."""

    def restores() -> float:
        metrics = ask(site.port, "/metrics")[1]
        return sum(map(float, re.findall(r"^streamfold_restores_total{.*} (.*)$", metrics, re.MULTILINE)))

    so_far = restores()
    async with running(load(site.file, {})) as guest:
        await joined(lambda: any(task.ready for task in guest.tasks.values()), "the guest has a partition", guest)
        task = next(task for task in guest.tasks.values() if task.ready)
        before = task.committed
        await asyncio.to_thread(site.load, 0.1)
        await joined(lambda: task.committed != before, "the guest commits", guest)
    await joined(lambda: restores() > so_far, "the worker has it again")


def test_state_that_is_rebuilt_again_and_again_is_told_of(site: Site) -> None:
    async def trouble() -> None:
        deadline = time.monotonic() + 90
        while not site.fired("StreamfoldRestoreLoop"):
            assert time.monotonic() < deadline, "the alert does not come"
            await take_and_give_back(site)

    until(lambda: not site.fired("StreamfoldRestoreLoop"), 90, "what the tests before did is over")
    scenario(trouble)
    until(lambda: not site.fired("StreamfoldRestoreLoop"), 90, "the alert is over")


def test_a_transaction_that_stays_open_upstream_is_told_of(site: Site) -> None:
    """Nobody may read past it: the lag rises, and nothing is folded."""
    wanted = {"StreamfoldLagRising", "StreamfoldNoProgress"}
    seen: set[str] = set()
    producer = KafkaProducer(bootstrap_servers=site.kafka, transactional_id=f"{site.name}-upstream")
    with closing(producer):
        producer.init_transactions()
        producer.begin_transaction()
        deadline = time.monotonic() + 120
        while not seen >= wanted:
            assert time.monotonic() < deadline, f"only {seen} fired"
            for _ in range(200):
                producer.send(site.topic, site.score(), b"ann")
            producer.flush()
            time.sleep(0.3)
            seen |= {alert for alert in wanted if site.fired(alert)}
        producer.commit_transaction()
    until(lambda: not any(site.fired(alert) for alert in wanted), 60, "the alerts are over")


def test_a_worker_that_is_gone_is_told_of(site: Site) -> None:
    end(site.worker)
    until(lambda: site.fired("StreamfoldWorkerAbsent"), 60, "the alert")
    site.start()
    until(lambda: not site.fired("StreamfoldWorkerAbsent"), 60, "the alert is over")
