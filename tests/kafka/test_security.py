"""Logins, certificates and permissions, against a broker that insists on them; and no secret in what is said."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from kafka.admin import ACLOperation, ResourceType

from operators import Count
from pipeline import App, Stream, Table
from pipeline.edges.doctor import examine
from pipeline.edges.kafka.admin import Admin, Bounds
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, Unreachable
from pipeline.edges.kafka.ingest import Ingest
from pipeline.edges.kafka.producer import Deadlines, TransactionalProducer
from pipeline.edges.kafka.subscribe import Updates
from pipeline.edges.kafka.topics import own_topics
from pipeline.errors import InputError, KafkaStateError
from tests.kafka.clients import drain_to, make_topic, run, unique, values_of, write
from tests.kafka.guarded import GUEST, MARKER, MECHANISMS, PASSWORD, WRONG, Guarded, guarded_broker, security
from tests.kafka.pipelines import Site as Pipeline
from tests.kafka.pipelines import drained, refusal, running, scenario
from tests.kafka.process import STREAMFOLD, Site, ask, end, free_ports, is_ready, process, until

EXAMPLES = Path(__file__).parents[2] / "examples"
FAUST = str(Path(sys.executable).with_name("faust"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_broker(tmp_path_factory.mktemp("guarded")) as broker:
        yield broker


# Who is let in


@pytest.mark.parametrize("way", [*MECHANISMS, "certificate"])
def test_every_client_is_let_in(guarded: Guarded, way: str) -> None:
    tp = TopicPartition(make_topic(guarded.plain), 0)
    settings = ClientSettings(guarded.tls, **guarded.certificate())
    if way in MECHANISMS:
        settings = ClientSettings(guarded.sasl, **guarded.login(mechanism=way))

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(settings, unique("owner"))
        await write(producer, tp.topic, [b"in"])
        await producer.close()
        consumer = ColumnarConsumer.reader(settings)
        await consumer.start()
        consumer.assign([tp])
        consumer.seek(tp, 0)
        assert values_of(await drain_to(consumer, tp, 2)) == [b"in"]
        await consumer.shutdown()

    run(scenario)
    with closing(Admin(settings)) as admin:
        assert admin.bounds(tp) == Bounds(0, 2)
    with Ingest(settings, tp.topic, 10) as ingest:
        ingest.send(b"k", b"sent")
        ingest.flush()
    with closing(Updates(settings, tp.topic, 1, from_start=True)) as updates:
        records = iter(updates)
        assert [next(records).value, next(records).value] == [b"in", b"sent"]


REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "wrong password": ("sasl", {"sasl_password": WRONG}, "refuses the login", "correct sasl_mechanism"),
    "unknown user": ("sasl", {"user": "nobody"}, "refuses the login", "correct sasl_mechanism"),
    "password of another mechanism": (
        "sasl",
        {"user": GUEST, "mechanism": "PLAIN"},
        "refuses the login",
        "sasl_mechanism",
    ),
    "wrong authority": ("sasl", {"ssl_cafile": "other-ca.pem"}, "is not to be trusted", "set ssl_cafile"),
    "the system's authorities": ("sasl", {"ssl_cafile": None}, "is not to be trusted", "set ssl_cafile"),
    "no login": ("sasl", {"bare": "SSL"}, "closes the connection at the first question", "it asks for a login"),
    "no TLS": ("sasl", {"bare": "PLAINTEXT"}, "asks for TLS", "set security_protocol"),
    "no certificate": (
        "tls",
        {"ssl_certfile": None, "ssl_keyfile": None, "ssl_key_password": None},
        "certificate required",
        "set ssl_certfile",
    ),
    "certificate of another authority": (
        "tls",
        {"ssl_certfile": "stranger.pem", "ssl_keyfile": "stranger.key"},
        "certificate unknown",
        "set ssl_certfile",
    ),
}


def refused_settings(guarded: Guarded, address: str, given: dict[str, Any]) -> ClientSettings:
    options = {
        name: str(guarded.folder / value) if isinstance(value, str) and name.endswith("file") else value
        for name, value in given.items()
    }
    if bare := options.pop("bare", None):
        made = {"security_protocol": bare} | ({"ssl_cafile": str(guarded.folder / "ca.pem")} if bare == "SSL" else {})
    else:
        made = guarded.login(**options) if address == "sasl" else guarded.certificate(**options)
    return ClientSettings(getattr(guarded, address), **made)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_who_is_refused_hears_why_at_once(
    guarded: Guarded,
    caplog: pytest.LogCaptureFixture,
    case: tuple[str, dict[str, Any], str, str],
) -> None:
    address, given, said, mend = case
    settings = refused_settings(guarded, address, given)
    with caplog.at_level(logging.DEBUG), pytest.raises(KafkaStateError, match=said) as raised:
        Admin(settings, timeout=60).describe(["any"])
    assert not isinstance(raised.value, Unreachable)
    assert mend in raised.value.mend
    assert "\n" not in raised.value.cause
    assert len(caplog.messages) < 20, "it was tried again and again"
    assert MARKER not in f"{raised.value} {raised.value.mend} {settings!r}"


def test_a_worker_that_meets_a_changed_password_fails_within_its_bound(guarded: Guarded) -> None:
    settings = ClientSettings(guarded.sasl, **guarded.login(sasl_password=WRONG))

    async def scenario() -> None:
        with pytest.raises(Failed) as raised:
            await TransactionalProducer.fence(settings, unique("owner"), Deadlines(request=1, commit=2))
        assert MARKER not in str(raised.value)

    run(scenario)


@pytest.mark.parametrize("wrong", [{"ssl_key_password": None}, {"ssl_key_password": WRONG}, {"ssl_keyfile": "ca.pem"}])
def test_a_key_that_cannot_be_opened_is_the_users_input(guarded: Guarded, wrong: dict[str, Any]) -> None:
    settings = refused_settings(guarded, "tls", wrong)
    with pytest.raises(InputError, match="cannot read the certificates") as raised:
        settings.for_aiokafka()
    assert "ssl_key_password" in raised.value.mend
    assert MARKER not in f"{raised.value} {raised.value.mend}"


# What one who was let in may do


def guest(guarded: Guarded, name: str, *, without: str = "") -> App:
    """An app of the guest, who may do all that it needs but for one thing, like ``write changelog``."""
    site = Pipeline(guarded.plain, name)
    stream = Stream("events", topic=site.source)
    app = App(
        name,
        tables=[Table("table", stream, {"n": Count()})],
        brokers=guarded.sasl,
        start_timeout="10s",
        kafka=security(guarded.login(GUEST)),
    )
    topics = {"changelog": f"{name}-table-changelog", "output": f"{name}-table", "letters": app.dead_letters}
    site.admin.create(own_topics(app, site.admin.describe([site.source])))
    site.send(3)
    rights = {f"{operation} {role}": (ResourceType.TOPIC, topic) for role, topic in topics.items() for operation in OWN}
    rights |= {f"{operation} source": (ResourceType.TOPIC, site.source) for operation in ("describe_configs", "read")}
    rights |= {"read group": (ResourceType.GROUP, name)}
    rights |= {"write transactions": (ResourceType.TRANSACTIONAL_ID, f"streamfold/{name}/{site.source}/0")}
    assert not without or without in rights
    for right, (resource, target) in rights.items():
        if right != without:
            guarded.allow(resource, target, ACLOperation[right.split()[0].upper()])
    return app


OWN = ("describe_configs", "read", "write")


@pytest.mark.parametrize(
    "denied",
    [
        ("read source", "may not see topic NAME-events", "grant Describe on NAME-events"),
        ("describe_configs source", "may not read the settings of topic NAME-events", "grant DescribeConfigs"),
        ("read changelog", "may not read topic NAME-table-changelog", "grant Read on NAME-table-changelog"),
        ("write changelog", "may not write topic NAME-table-changelog", "grant Write on NAME-table-changelog"),
        ("describe_configs changelog", "may not read the settings of topic NAME-table-changelog", "DescribeConfigs"),
        ("write output", "may not write topic NAME-table", "grant Write on NAME-table"),
        ("write letters", "may not write topic NAME-dead-letters", "grant Write on NAME-dead-letters"),
        ("read group", "GroupAuthorizationFailed", "grant Read on the group"),
        ("write transactions", "this user may not do that", "grant Write on the transactional ids"),
    ],
)
def test_what_is_not_allowed_ends_the_worker_with_the_mend(
    guarded: Guarded, topic_prefix: str, caplog: pytest.LogCaptureFixture, denied: tuple[str, str, str]
) -> None:
    without, said, mend = denied
    app = guest(guarded, topic_prefix, without=without)
    examined = [finding for finding in examine(app) if finding.verdict == "problem"]
    assert any(mend.replace("NAME", topic_prefix) in finding.mend for finding in examined), examined
    error = asyncio.run(refusal(app))
    assert error.exit_code == 3
    assert said.replace("NAME", topic_prefix) in error.cause
    assert mend.replace("NAME", topic_prefix) in error.mend
    assert MARKER not in f"{error.cause} {error.mend} {caplog.text}"
    assert "never retrieved" not in caplog.text


def test_who_has_all_the_permissions_is_in_order(guarded: Guarded, topic_prefix: str) -> None:
    app = guest(guarded, topic_prefix)
    assert [finding for finding in examine(app) if finding.verdict == "problem"] == []
    wrong = replace(app, kafka=security(guarded.login(GUEST, sasl_password=WRONG)))
    (found,) = examine(wrong)
    assert (found.verdict, found.subject) == ("problem", "broker")
    assert "refuses the login" in found.found
    assert MARKER not in f"{found}"


def test_the_permissions_of_the_documentation_are_enough(guarded: Guarded, topic_prefix: str) -> None:
    """docs/how-to/security.md has them in a table."""
    site = Pipeline(guarded.plain, topic_prefix)
    site.send(3)
    app = site.app(brokers=guarded.sasl, kafka=security(guarded.login(GUEST)))
    may = ACLOperation
    guarded.allow(ResourceType.TOPIC, site.source, may.READ, may.DESCRIBE_CONFIGS)
    own_rights = (may.CREATE, may.READ, may.WRITE, may.DESCRIBE_CONFIGS)
    guarded.allow(ResourceType.TOPIC, f"{app.name}-", *own_rights, prefix=True)
    guarded.allow(ResourceType.GROUP, app.name, may.READ)
    guarded.allow(ResourceType.TRANSACTIONAL_ID, f"streamfold/{app.name}/", may.WRITE, prefix=True)

    async def fold() -> None:
        async with running(app) as plane:
            await drained(site, plane)

    assert {finding.verdict for finding in examine(app)} == {"ok", "warning"}
    scenario(fold)
    assert len(site.outputs()) == 3
    refusals = [finding.subject for finding in examine(app) if finding.verdict != "ok"]
    assert refusals == ["settings", "clock"], "these need permissions on the cluster, and a run does not"


def test_a_permission_that_is_withdrawn_ends_the_worker_with_the_mend(
    guarded: Guarded, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = guest(guarded, topic_prefix)
    settings = ClientSettings.of(app)
    guarded.deny(ResourceType.TOPIC, app.output(app.tables["table"]), ACLOperation.WRITE)
    guarded.allow(ResourceType.TRANSACTIONAL_ID, "late", ACLOperation.WRITE)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(settings, "late")
        await producer.begin()

        async def append() -> None:
            await producer.append(app.output(app.tables["table"]), 0, [b"k"], [b"v"])
            await producer.acknowledge()

        with pytest.raises(Failed, match="this user may not do that") as raised:
            await append()
        assert raised.value.lasting
        assert "grant Write" in raised.value.mend
        assert await producer.abort()
        await producer.close()

    run(scenario)
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("withdrawn", ["output", "group"])
def test_what_may_not_be_announced_is_told_by_the_next_step(
    guarded: Guarded, topic_prefix: str, caplog: pytest.LogCaptureFixture, withdrawn: str
) -> None:
    app = guest(guarded, topic_prefix)
    settings, output = ClientSettings.of(app), app.output(app.tables["table"])
    if withdrawn == "output":
        guarded.deny(ResourceType.TOPIC, output, ACLOperation.WRITE)
    else:
        guarded.deny(ResourceType.GROUP, app.group, ACLOperation.READ)
    guarded.allow(ResourceType.TRANSACTIONAL_ID, "later", ACLOperation.WRITE)

    async def scenario() -> None:
        producer = await TransactionalProducer.fence(settings, "later")
        await producer.begin()
        await producer.announce([TopicPartition(output, 0)], app.group)
        await asyncio.wait([producer._producer.transactions.wait_for_transaction_end()], timeout=30)
        with pytest.raises(Failed, match="this user may not do that") as raised:
            await producer.append(output, 0, [b"k"], [b"v"])
        assert raised.value.lasting
        assert ("grant Write on the changelogs" if withdrawn == "output" else "grant Read") in raised.value.mend
        assert await producer.abort()
        await producer.close()

    run(scenario)
    assert "never retrieved" not in caplog.text


# All of it together, as users start it


@pytest.fixture
def secretive(guarded: Guarded, tmp_path: Path, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A pipeline whose every secret holds the marker: a password from the environment, a token from a file."""
    site = Site(guarded.plain, tmp_path, topic_prefix, free_ports())
    site.make_sources()
    (tmp_path / "token").write_text(f"{MARKER}-token\n")
    options = guarded.login(sasl_password="${PASSWORD}", sasl_mechanism="${MECHANISM}")
    kafka = "\n".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    text = site.file.read_text().replace(guarded.plain, guarded.sasl)
    text = text.replace("[app]\n", '[app]\nhttp_token = "file:token"\n') + f"[app.kafka]\n{kafka}\n"
    site.file.write_text(text)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    monkeypatch.setenv("MECHANISM", "PLAIN")
    return site


def test_faust_and_every_command_work_and_show_no_secret(
    secretive: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is Faust's own, so its consumer and producer log in too; PLAIN sends the password as it is."""
    site, log = secretive, tmp_path / "worker.log"
    paths = os.pathsep.join([*sys.path, str(EXAMPLES)])
    command = [FAUST, "--workdir", str(tmp_path), "-A", "alerts", "worker", "-l", "debug", "--logfile", str(log)]
    shown = []
    with process(command, STREAMFOLD_CONFIG=str(site.file), PYTHONPATH=paths) as worker:
        until(lambda: is_ready(site.port), 60, "ready", worker)
        events = tmp_path / "events.jsonl"
        events.write_text('{"score": 95, "who": "high"}\n{"score": 5, "who": "low"}\n')
        monkeypatch.setenv("MECHANISM", "SCRAM-SHA-256")
        file = str(site.file)
        for arguments in (
            ("send", file, "scores", str(events), "--key", "who", "--debug"),
            ("watch", file, "player", "--from-start", "--limit", "2", "--debug"),
            ("query", file, "player", "high", "--debug"),
            ("describe", file),
            ("describe", file, "--json"),
            ("validate", file, "--json"),
        ):
            done = site.streamfold(*arguments)
            assert done.returncode == 0, done.stderr
            shown.append(done.stdout + done.stderr)
        until(lambda: "high averages 95.0" in log.read_text(), 60, "the alert", worker)
        for path in ("/metrics", "/tables", "/tables/player/high", "/nowhere"):
            assert ask(site.port, path)[0] == 401
            shown.append(fetch(site.port, path, f"{MARKER}-token"))
        assert fetch(site.port, "/tables", f"{MARKER}-tokem") == fetch(site.port, "/tables", "")
        monkeypatch.setenv("MECHANISM", "PLAIN")
        code, said = end(worker)
        assert code == 0, said
    shown += [said, log.read_text()]
    done = site.streamfold("reset", file, "--yes", "--debug")
    assert done.returncode == 0, done.stderr
    shown.append(done.stdout + done.stderr)
    assert "SaslAuthenticate" in shown[-1], "the library does not log the login any more: this test shows nothing"
    assert [text for text in shown if MARKER in text] == []


def fetch(port: int, path: str, token: str) -> str:
    """What a worker answers, headers included, to one who shows a token."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        assert (response.status == 401) == (token != f"{MARKER}-token")
        return f"{response.status} {[h for h in response.getheaders() if h[0] != 'Date']} {response.read().decode()}"
    finally:
        connection.close()


@pytest.mark.parametrize("verb", [("run",), ("send", "scores", "--key=who"), ("watch", "player"), ("reset", "--yes")])
def test_a_command_with_a_wrong_password_ends_with_3_in_two_lines(
    secretive: Site, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PASSWORD", WRONG)
    name, *rest = verb
    done = subprocess.run(
        [*STREAMFOLD, name, str(secretive.file), *rest],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: the broker at ")
    assert "refuses the login" in error
    assert hint.startswith("hint: correct sasl_mechanism")
    assert MARKER not in done.stdout + done.stderr
