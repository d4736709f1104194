"""A real Prometheus scrapes a worker: every panel of every dashboard has data, and alerts fire for real faults."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from pipeline.core.config.load import load
from pipeline.edges.kafka.admin import Admin, TopicSpec
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import transactional_id
from pipeline.edges.kafka.producer import TransactionalProducer
from scripts.dashboards import FOLDER
from tests.kafka.pipelines import running, scenario
from tests.kafka.pipelines import until as joined
from tests.kafka.process import STREAMFOLD, ask, end, free_ports, is_ready, process, until
from tests.programs import installed
from tests.prometheus import Prometheus, concrete

METRICS = Path(__file__).parent.parent.parent / "docs" / "reference" / "metrics.md"
DASHBOARDS = sorted((FOLDER / "grafana").glob("*.json"))
LOAD_SECONDS = 8.0

CONFIG = """
[app]
name = "{name}"
brokers = "{brokers}"
http = "127.0.0.1:{port}"
session_timeout = "6s"
commit_interval = "100ms"

[streams.scores]
topic = "{name}.scores"
time = "ts"
where = "score >= 0"

[tables.player]
stream = "scores"
on_null = "delete"
dedupe = {{ field = "id", window = "1m", max_events = 20 }}
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "score" }}
last_3 = {{ type = "moving_mean", value = "score", window = 3 }}
recent = {{ type = "moving_mean", value = "score", window = "10s" }}
spread = {{ type = "std", value = "score" }}
[tables.player.metrics]
keys = ["ann", "bob"]

[tables.bonus]
stream = "scores"
missing = "skip"
on_null = "delete"
[tables.bonus.operators]
bonus = {{ type = "mean", value = "bonus" }}
"""


class Site:
    """A worker with a topic of one partition, and the Prometheus that watches it."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.kafka = kafka
        self.port, prometheus = free_ports(), free_ports()
        self.name = f"watched-{self.port}"
        self.topic = f"{self.name}.scores"
        self.file = folder / "pipeline.toml"
        self.file.write_text(CONFIG.format(name=self.name, brokers=kafka, port=self.port))
        self.prometheus = Prometheus(folder, prometheus, target=f"127.0.0.1:{self.port}")
        self.loaded = (0.0, 0.0)
        self.workers = ExitStack()
        self._ids = count()
        with closing(Admin(ClientSettings(kafka))) as admin:
            admin.create([TopicSpec.source(self.topic, 1)])

    def start(self) -> None:
        """Start the worker."""
        self.worker = worker = self.workers.enter_context(process([*STREAMFOLD, "run", str(self.file)]))
        until(lambda: is_ready(self.port), 60, "ready", worker)

    def score(self, score: float = 1, **fields: object) -> bytes:
        return json.dumps({"score": score, "ts": time.time(), "id": next(self._ids), **fields}).encode()

    def round(self) -> list[tuple[str, bytes | None]]:
        """Some events, and one of each kind that is not just folded."""
        twice = self.score()
        return [
            *((name, self.score(n % 7, bonus=n)) for n in range(40) for name in ("ann", "bob")),
            ("ann", self.score(-1)),  # filtered
            ("ann", self.score(ts=time.time() - 3600)),  # late
            (f"new-{next(self._ids)}", self.score()),  # skipped by the bonus, and its spread is undefined
            ("ann", twice),
            ("ann", twice),  # a duplicate
            ("cat", self.score()),
            ("cat", None),  # a key dropped
            ("ann", b"no JSON"),  # a dead letter
        ]

    def load(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with closing(KafkaProducer(bootstrap_servers=self.kafka)) as producer:
            while time.monotonic() < end:
                for key, value in self.round():
                    producer.send(self.topic, value, key.encode())
                producer.flush()
                time.sleep(0.3)


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Loaded for some seconds, then at rest."""
    installed("prometheus", "prometheus")
    site = Site(kafka, tmp_path_factory.mktemp("prometheus"))
    with site.workers, site.prometheus.running():
        site.start()
        until(lambda: site.prometheus.ask("up == 1") != [], 60, "scraped", site.worker)
        began = time.time()
        site.load(LOAD_SECONDS)
        site.loaded = (began, time.time())
        yield site
        code, said = end(site.worker)
        assert code == 0, said


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
    until(lambda: shown() == pytest.approx(told), 20, f"{told} is shown")


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


def fired(site: Site, alert: str) -> bool:
    """Whether it fires now."""
    return site.prometheus.ask(f'ALERTS{{alertname="{alert}", alertstate="firing"}}') != []


def test_dead_letters_were_told_of_and_are_over(site: Site) -> None:
    told = 'max_over_time(ALERTS{alertname="StreamfoldDeadLetters", alertstate="firing"}[5m])'
    until(lambda: site.prometheus.ask(told) != [], 60, "the alert")
    (alert,) = site.prometheus.ask(told)
    assert (alert["metric"]["stage"], alert["metric"]["severity"]) == ("decode", "warning")
    until(lambda: not fired(site, "StreamfoldDeadLetters"), 60, "the alert is over")


def test_a_fence_and_a_storm_of_rebalances_are_told_of(site: Site) -> None:
    """Somebody takes the partition's transactions over, and another member comes and goes."""
    wanted = {"StreamfoldFenced", "StreamfoldRebalanceStorm"}

    async def steal() -> None:
        name = transactional_id(site.name, TopicPartition(site.topic, 0))
        thief = await TransactionalProducer.fence(ClientSettings(site.kafka), name)
        await thief.close()
        await asyncio.to_thread(site.load, 0.1)

    async def come_and_go() -> None:
        async with running(load(site.file, {})) as guest:
            await joined(lambda: guest.consumer.current_assignment() is not None, "the guest joined", guest)

    async def trouble() -> None:
        await steal()
        seen: set[str] = set()
        while not seen >= wanted:
            await come_and_go()
            seen |= {alert for alert in wanted if fired(site, alert)}

    assert not any(fired(site, alert) for alert in wanted)
    scenario(trouble)
    until(lambda: not any(fired(site, alert) for alert in wanted), 60, "the alerts are over")


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
            seen |= {alert for alert in wanted if fired(site, alert)}
        producer.commit_transaction()
    until(lambda: not any(fired(site, alert) for alert in wanted), 60, "the alerts are over")


def test_a_worker_that_is_gone_is_told_of(site: Site) -> None:
    end(site.worker)
    until(lambda: fired(site, "StreamfoldWorkerAbsent"), 60, "the alert")
    site.start()
    until(lambda: not fired(site, "StreamfoldWorkerAbsent"), 60, "the alert is over")
