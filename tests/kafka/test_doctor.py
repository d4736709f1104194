"""`doctor` finds each thing that would stop a run, or makes it wrong, and says how to mend it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.protocol.metadata import MetadataRequest
from click.testing import CliRunner
from kafka import KafkaConsumer
from kafka import TopicPartition as Partition

from operators import Count, MovingMean
from pipeline import App
from pipeline.cli import main
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.doctor import Finding, cluster, examine
from pipeline.edges.doctor.state import other_group
from pipeline.edges.doctor.transactions import end, mark, open_transactions
from pipeline.edges.kafka.client import ClientSettings, is_old
from pipeline.edges.kafka.plane import Plane
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.edges.metrics import Metrics
from pipeline.edges.web.address import Address
from pipeline.errors import KafkaStateError
from tests.kafka.diagnosed import folded, own, the_problem, verdicts
from tests.kafka.pipelines import PATIENCE, Site, drained, refusal, running, scenario
from tests.kafka.process import STREAMFOLD
from tests.kafka.process import Site as Process


@pytest.fixture
def site(kafka: str, topic_prefix: str) -> Site:
    return Site(kafka, topic_prefix)


# All is well


def test_before_the_first_run(site: Site) -> None:
    app = site.app()
    found = list(examine(app))
    assert [finding for finding in found if finding.verdict != "ok"] == []
    said = {finding.subject: finding.found for finding in found}
    assert said["topic"].endswith("will be made by the first run")
    assert said["state"].endswith("nothing is folded yet")
    assert site.admin.describe(own(site, app).values()) == {}, "it made a topic"


def test_at_rest_the_state_is_read_and_counted(site: Site) -> None:
    app = folded(site)
    found = list(examine(app))
    assert [finding for finding in found if finding.verdict != "ok"] == []
    assert found[-1] == Finding("ok", "state", f"{site.source}: 1 keys, whole, and of these operators")


def test_at_work_the_members_are_named_and_the_state_is_theirs(site: Site) -> None:
    app = site.app()
    site.send(3)

    async def look() -> None:
        async with running(app, _Named) as plane:
            await drained(site, plane)
            (found,) = [f for f in await asyncio.to_thread(list, examine(app)) if f.subject == "group"]
            assert found.verdict == "ok"
            assert f"{app.group} is at work: streamfold@127.0.0.1:6066 at /127.0.0.1" in found.found

    scenario(look)


class _Named(Plane):
    """A worker that has told the group where it serves HTTP, as the host does."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        super().__init__(app, metrics)
        self.settings = replace(self.settings, client_id=Address.parse(app.http).as_client_id())


def test_a_member_is_a_worker_by_its_name(site: Site) -> None:
    app = site.app()
    member = {"client_id": "streamfold@127.0.0.1:6066", "client_host": "/127.0.0.1"}
    described = {"protocol_type": "consumer", "members": [member]}
    assert other_group(app, described, "classic") is None
    for wrong, kind, said in (
        (described, "consumer", "another protocol"),
        (described | {"protocol_type": "connect"}, "classic", "another kind"),
        (described | {"members": [member, {"client_id": "stranger"}]}, "classic", "stranger"),
    ):
        trouble = other_group(app, wrong, kind)
        assert trouble is not None
        assert said in trouble.cause


# Topics


def test_a_missing_source(site: Site) -> None:
    app = site.app()
    site.admin.delete([site.source])
    found = the_problem(app)
    assert found.subject == "source"
    assert "does not exist" in found.found
    assert "send" in found.mend


@pytest.mark.parametrize(
    ("role", "spec", "said"),
    [
        ("changelog", TopicSpec("", 2, 1, {"cleanup.policy": "compact"}), "2 partitions instead of 1"),
        ("changelog", TopicSpec("", 1, 1, {"cleanup.policy": "delete"}), "cleanup.policy delete instead of compact"),
        ("letters", TopicSpec("", 1, 1, {"cleanup.policy": "compact"}), "cleanup.policy compact instead of delete"),
        (
            "changelog",
            TopicSpec("", 1, 1, {"cleanup.policy": "compact", "max.message.bytes": "200"}),
            "max.message.bytes",
        ),
        ("output", TopicSpec("", 1, 1, {"max.message.bytes": "200"}), "max.message.bytes"),
        ("output", TopicSpec("", 1, 1, {"min.insync.replicas": "2"}), "min.insync.replicas 2, but replication 1"),
    ],
)
def test_a_topic_that_a_run_would_refuse(site: Site, role: str, spec: TopicSpec, said: str) -> None:
    app = site.app()
    name = own(site, app)[role]
    site.admin.create([TopicSpec(name, spec.partitions, 1, spec.configs)])
    found = the_problem(app)
    assert found.subject == "topic"
    assert name in found.found
    assert said in found.found


def test_an_output_with_fewer_partitions_than_the_source(kafka: str, topic_prefix: str) -> None:
    site = Site(kafka, topic_prefix, partitions=2)
    app = site.app()
    site.admin.create([TopicSpec.output(own(site, app)["output"], 1, "every")])
    assert "1 partitions instead of at least 2" in the_problem(app).found


def test_more_replicas_than_brokers(site: Site) -> None:
    found = verdicts(site.app(replication=7), "problem")
    assert len(found) == 3
    assert all("cannot make topic" in finding.found and "replication in [app]" in finding.mend for finding in found)


def test_what_is_only_worth_knowing_is_no_problem(site: Site) -> None:
    app = site.app([site.table(emit="commit")], replication=3)
    topics = own(site, app)
    site.admin.create([TopicSpec.changelog(topics["changelog"], 1), TopicSpec.output(topics["output"], 1, "every")])
    site.admin.create([TopicSpec(topics["letters"], 1, 1, {"max.message.bytes": "1000"})])
    assert verdicts(app, "problem") == []
    said = " / ".join(finding.found for finding in verdicts(app, "warning"))
    for part in ("cleanup.policy delete, we would make it compact", "records of 1000 bytes", "has 1 replicas"):
        assert part in said


# The group


def test_a_consumer_of_somebody_else_in_the_group(site: Site) -> None:
    app = site.app()
    stranger = KafkaConsumer(bootstrap_servers=site.kafka, group_id=app.group, client_id="stranger")
    try:
        # On a slow machine it could join before it knows the topic, be assigned nothing, and leave it at that.
        assert stranger.partitions_for_topic(site.source)
        stranger.subscribe([site.source])
        deadline = time.monotonic() + PATIENCE
        while not stranger.assignment():
            stranger.poll(timeout_ms=100)
            assert time.monotonic() < deadline
        found = the_problem(app)
        assert found.subject == "group"
        assert "stranger" in found.found
    finally:
        stranger.close()


# Transactions


def hang(site: Site, look: Callable[[], None]) -> None:
    """Leave a transaction open on the source, and look."""

    async def scene() -> None:
        producer = await TransactionalProducer.fence(ClientSettings(site.kafka), f"{site.name}-upstream")
        await producer.begin()
        await producer.append(site.source, 0, [b"k"], [b"{}"])
        await producer.acknowledge()
        await asyncio.to_thread(look)
        await producer.close()

    asyncio.run(scene())


def is_stable(site: Site) -> bool:
    return site.admin.bounds(site.tp(), "read_committed") == site.admin.bounds(site.tp())


def test_a_hanging_transaction_is_found_and_on_request_aborted(site: Site) -> None:
    app = site.app()

    def look() -> None:
        assert verdicts(app, "problem") == [], "it is young"
        found = the_problem(app, older_than=0.0)
        assert f"{site.source}-0 is held up by {site.name}-upstream" in found.found
        assert "--abort-hanging" in found.mend
        assert not is_stable(site)
        assert verdicts(app, "problem", older_than=0.0, abort=True) == []
        assert is_stable(site)
        assert verdicts(app, "problem", older_than=0.0) == []

    hang(site, look)


def test_one_that_no_coordinator_knows_is_ended_by_a_mark(site: Site) -> None:
    def look() -> None:
        (found,) = open_transactions(site.admin, [Partition(site.source, 0)], 0.0)
        mark(site.admin, found)
        assert is_stable(site)
        assert end(site.admin, []) == []

    hang(site, look)


# Brokers


def test_no_broker(site: Site) -> None:
    app = site.app(brokers="127.0.0.1:1", start_timeout="1s")
    found = the_problem(app)
    assert found.subject == "broker"
    assert "no broker at 127.0.0.1:1" in found.found


def test_a_broker_that_is_too_old() -> None:
    assert is_old({MetadataRequest.API_KEY: (0, 9)})
    assert not is_old({MetadataRequest.API_KEY: (0, 10)})


@pytest.fixture(scope="module")
def careless() -> Iterator[str]:
    properties = {
        "auto.create.topics.enable": "true",
        "transaction.max.timeout.ms": "20000",
        "group.max.session.timeout.ms": "8000",
    }
    with EmbeddedKafka(properties=properties) as broker:
        yield broker.address


def test_settings_of_brokers_that_do_not_go_with_ours(careless: str, topic_prefix: str) -> None:
    app = Site(careless, topic_prefix).app(session_timeout="10s")
    timeout, session = verdicts(app, "problem")
    assert "transaction.max.timeout.ms is 20 s" in timeout.found
    assert "30000" in timeout.mend
    assert "session_timeout is 10 s, and the brokers take 6 to 8 s" in session.found
    assert session.mend == "set session_timeout in [app] to 8s"
    assert "auto.create.topics.enable" in verdicts(app, "warning")[0].found


@pytest.mark.parametrize(
    ("ahead", "verdict", "said"),
    [(0, "ok", "within 5 s"), (60, "warning", "60 s ahead"), (-60, "warning", "60 s behind"), (9000, "problem", "far")],
)
def test_the_clock(site: Site, monkeypatch: pytest.MonkeyPatch, ahead: float, verdict: str, said: str) -> None:
    now = time.time
    assert site.admin.describe([site.source]), "nobody connects while the clock is off"
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    (found,) = [finding for finding in cluster.cluster(site.admin, site.app()) if finding.subject == "clock"]
    assert found.verdict == verdict
    assert said in found.found


# The command


def file_of(site: Site, folder: Path) -> Path:
    process = Process(site.kafka, folder, site.name, 6066)
    return process.file


def test_the_command_is_a_table_with_an_exit_code(site: Site, tmp_path: Path) -> None:
    file = file_of(site, tmp_path)
    done = subprocess.run([*STREAMFOLD, "doctor", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"ok       broker        {site.kafka}: Kafka 4.1, 1 broker"
    place = next(number for number, line in enumerate(lines) if line.startswith("problem  source"))
    assert lines[place] == f"problem  source        topic {site.name}.scores does not exist on {site.kafka}"
    assert lines[place + 1].startswith(" " * 23 + "-> make it")
    assert lines[-1].startswith("problems: 2, ")
    Process(site.kafka, tmp_path, site.name, 6066).make_sources()
    done = subprocess.run([*STREAMFOLD, "doctor", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_reference_shows_what_it_prints(site: Site, tmp_path: Path) -> None:
    name, topic, file = f"{site.name}.arcade", f"{site.name}.game-scores", tmp_path / "arcade.toml"
    file.write_text(
        f'[app]\nname = "{name}"\nbrokers = "{site.kafka}"\n[streams.scores]\ntopic = "{topic}"\n'
        '[tables.player]\nstream = "scores"\noperators = { games = { type = "count" } }\n'
    )
    site.admin.create([TopicSpec.source(topic, 4), TopicSpec(f"{name}-player-changelog", 4, 1, {})])
    printed = CliRunner().invoke(main, ["doctor", str(file)]).stdout
    printed = printed.replace(f"{site.name}.", "").replace(site.kafka, "localhost:9092")
    reference = (Path(__file__).parents[2] / "docs/reference/doctor.md").read_text("utf-8")
    assert printed == reference.partition("```text\n")[2].partition("```")[0]


def test_the_command_as_json_and_in_colour(site: Site, tmp_path: Path) -> None:
    file = str(file_of(site, tmp_path))
    plain = CliRunner().invoke(main, ["doctor", file, "--json"])
    assert plain.exit_code == 3
    answer = json.loads(plain.stdout)
    assert answer["ok"] is False
    assert {"verdict", "subject", "found", "mend"} == set(answer["findings"][0])
    assert "\x1b[31mproblem" in CliRunner().invoke(main, ["doctor", file], color=True).stdout


def test_a_duration_that_is_none_is_the_users_input(site: Site, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", str(file_of(site, tmp_path)), "--older-than", "60"])
    assert result.exit_code == 2


def test_it_refuses_what_a_run_would_refuse(site: Site) -> None:
    """The names in the tests above are those of a run: the same check speaks in both."""
    folded(site)
    changed = site.app([site.table(operators={"last": MovingMean(value="x", window=2), "n": Count()})])

    async def run() -> KafkaStateError:
        error = await refusal(changed)
        assert isinstance(error, KafkaStateError)
        return error

    error = asyncio.run(run())
    found = the_problem(changed)
    assert (found.found, found.mend) == (error.cause, error.mend)
    assert the_problem(changed) == found, "it changed something"
    assert site.committed() == 3
