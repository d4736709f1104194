"""Whoever reads a table's output by the examples sees the same committed records: Python, Java and Faust."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer

from pipeline.edges.host.agents import SCHEME, CommittedTransport
from pipeline.edges.kafka.topic_spec import TopicSpec
from tests.cli.pipelines import Pipeline, games, pipeline_in
from tests.kafka.process import end, process, until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "downstream"
PAGE = ROOT / "docs" / "how-to" / "downstream.md"
FAUST = str(Path(sys.executable).with_name("faust"))
UNDONE, DELETED = b'{"key":"player-0","games":99,"average":-1.0}', "player-1"
CONFIG = """
[app]
name = "{name}"
brokers = "{kafka}"
http = "127.0.0.1:{port}"
commit_interval = "20ms"
session_timeout = "6s"
[streams.scores]
topic = "{name}-source"
[tables.player]
stream = "scores"
on_null = "delete"
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "score" }}
"""

Row = tuple[int, int, str, str]
"""Partition, offset, key and value of a record."""


@pytest.fixture(scope="module")
def pipeline(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Sixty results and a deletion; between them, results that were taken back."""
    pipeline = pipeline_in(tmp_path_factory.mktemp("downstream"), kafka, f"downstream-{os.getpid()}", CONFIG)
    with pipeline.admin() as admin:
        admin.create([TopicSpec.source(pipeline.app.streams["scores"].topic, 3)])
    events = [(str(game["player"]), game) for game in games(60)]
    produce(pipeline, events[:40])
    with pipeline.working():
        assert pipeline.run("watch", "player", "--from-start", "--limit", "40").returncode == 0
        for _ in range(3):
            pipeline.publish([(b"player-0", UNDONE), (b"player-2", UNDONE)], commit=False)
        produce(pipeline, [(DELETED, None), *events[40:]])
        output = pipeline.app.output(pipeline.app.tables["player"])
        until(lambda: len(pipeline.records(output)) == 61, 60, "all are folded")
    return pipeline


def produce(pipeline: Pipeline, events: Sequence[tuple[str, Any]]) -> None:
    """Events by their keys, None for one whose key is to be deleted."""
    with closing(KafkaProducer(bootstrap_servers=pipeline.app.brokers)) as producer:
        for key, event in events:
            value = None if event is None else json.dumps(event).encode()
            producer.send(pipeline.app.streams["scores"].topic, key=key.encode(), value=value)
        producer.flush()


@pytest.fixture(scope="module")
def topic(pipeline: Pipeline) -> str:
    return pipeline.app.output(pipeline.app.tables["player"])


@pytest.fixture(scope="module")
def rows(pipeline: Pipeline, topic: str) -> list[Row]:
    """What the subscriber in Python sees."""
    arguments = shown("subscriber.py", {"my-group": f"{topic}-subscriber", "player-averages": topic})
    done = run("subscriber.py", *arguments, "--brokers", pipeline.app.brokers, "--limit", "61")
    assert done.returncode == 0, done.stderr
    return [row_of(line) for line in done.stdout.splitlines()]


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def shown(example: str, here: Mapping[str, str]) -> list[str]:
    """The arguments that the how-to shows, with what is meant by them ``here``."""
    (command,) = re.findall(rf"^python examples/downstream/{example} ((?:.*\\\n)*.*)$", PAGE.read_text("utf-8"), re.M)
    return [here.get(word, word) for word in shlex.split(command)]


def row_of(line: str) -> Row:
    partition, offset, key, value = line.split("\t")
    return int(partition), int(offset), key, value


def test_the_subscriber_sees_each_event_of_a_key_once_in_order_and_the_deletion(rows: list[Row]) -> None:
    scores: dict[str, list[float]] = {}
    expected: dict[str, list[tuple[int, float] | None]] = {}
    for number, game in enumerate(games(60)):
        if number == 40:
            expected[DELETED].append(None)
            scores[DELETED] = []
        so_far = scores.setdefault(game["player"], [])
        so_far.append(game["score"])
        expected.setdefault(game["player"], []).append((len(so_far), sum(so_far) / len(so_far)))
    seen: dict[str, list[Any]] = {key: [] for key in expected}
    for _, _, key, value in rows:
        result = json.loads(value) if value != "None" else None
        seen[key].append(result and (result["games"], pytest.approx(result["average"])))
    assert seen == expected


def test_a_reader_that_does_not_ask_for_committed_records_sees_others_too(
    pipeline: Pipeline, topic: str, rows: list[Row]
) -> None:
    """Else the other tests could not fail."""
    options = {"auto_offset_reset": "earliest", "consumer_timeout_ms": 30_000, "enable_auto_commit": False}
    with closing(KafkaConsumer(topic, bootstrap_servers=pipeline.app.brokers, **options)) as consumer:
        found = [(record.partition, record.offset, record.value) for record in islice(consumer, len(rows) + 6)]
    undone = {(partition, offset) for partition, offset, value in found if value == UNDONE}
    assert len(undone) == 6
    assert not undone & {(partition, offset) for partition, offset, _, _ in rows}
    beside = [offset for partition, offset, _, _ in rows if partition == 0]
    assert min(beside) < min(undone)[1] < max(beside), "they are between results that stay"


def test_kafkas_console_consumer_sees_the_same(pipeline: Pipeline, topic: str, rows: list[Row]) -> None:
    printed = [f"print.{what}=true" for what in ("partition", "offset")]
    done = run(
        "console_consumer.py",
        *shown("console_consumer.py", {"localhost:9092": pipeline.app.brokers, "player-averages": topic}),
        *("--max-messages", str(len(rows)), "--timeout-ms", "60000"),
        *(word for option in printed for word in ("--property", option)),
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("Partition:", "").replace("Offset:", "").replace("\tnull", "\tNone").splitlines()
    assert sorted(row_of(line) for line in lines) == sorted(rows)


def test_a_faust_agent_alerts_of_the_same(pipeline: Pipeline, topic: str, rows: list[Row], tmp_path: Path) -> None:
    results = [json.loads(value) for _, _, _, value in rows if value != "None"]
    wanted = sorted(f"{it['key']} averages {it['average']} after {it['games']} games" for it in results)
    log = tmp_path / "agent.log"
    environment = {
        "KAFKA": pipeline.app.brokers,
        "TOPIC": topic,
        "GROUP": f"{topic}-alerts",
        "LIMIT": "-2",  # all of them, and those that were taken back
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    command = [FAUST, "--datadir", str(tmp_path), "-A", "examples.downstream.alert_agent", "worker"]
    with process([*command, "--loglevel", "warn", "--logfile", str(log)], **environment) as agent:
        until(lambda: log.exists() and log.read_text().count(" averages ") >= len(wanted), 60, "alerts", agent)
        code, said = end(agent)
    assert code == 0, said
    told = [line[line.index("player-") :].rstrip() for line in log.read_text().splitlines() if " averages " in line]
    assert sorted(told) == wanted


def test_faust_finds_the_transport_of_committed_records_by_its_entry_point() -> None:
    (found,) = (entry for entry in entry_points(group="faust.transports") if entry.name == SCHEME)
    assert found.load() is CommittedTransport
