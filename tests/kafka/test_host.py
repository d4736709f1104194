"""Faust as the host: the pipeline under `faust worker`, with agents that see committed results only."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.app.base import App, BootStrategy
from faust.auth import SASLCredentials
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from mode.worker import Worker

from pipeline.edges.host.agents import SCHEME, CommittedTransport, broker_urls, credentials
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from tests.kafka.process import Site, end, free_ports, is_ready, process, until

EXAMPLES = Path(__file__).parents[2] / "examples"
FAUST = str(Path(sys.executable).with_name("faust"))


def test_the_private_names_that_the_host_relies_on() -> None:
    assert (version("faust-streaming"), version("mode-streaming"), version("aiokafka")) == ("0.15.3", "0.7.1", "0.14.0")
    assert "transport" in inspect.signature(AIOKafkaConsumerThread._create_worker_consumer).parameters
    assert "AIOKafkaConsumerThread" in inspect.getsource(Consumer._new_consumer_thread)
    assert "isolation_level=self._isolation_level" in inspect.getsource(AIOKafkaConsumer.start)
    assert "enable_kafka" in inspect.getsource(BootStrategy._should_enable_kafka_consumer)
    assert "_create_directories" in inspect.getsource(App.on_first_start)
    assert "_signal_stop_future" in inspect.getsource(Worker._schedule_shutdown)
    assert "_setproctitle" in inspect.getsource(faust.Worker.on_execute)
    assert "_starting_fut" in inspect.getsource(Worker._stop_on_signal)


def test_the_scheme_leads_faust_to_the_committed_transport() -> None:
    assert broker_urls(ClientSettings("a:1,b:2")) == [f"{SCHEME}://a:1", f"{SCHEME}://b:2"]
    assert TRANSPORTS.by_name(SCHEME) is CommittedTransport


def test_agents_log_in_as_the_pipeline_does() -> None:
    assert credentials(ClientSettings("a:1")) is None
    settings = ClientSettings(
        "a:1",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="me",
        sasl_password="secret",
    )
    given = credentials(settings)
    assert isinstance(given, SASLCredentials)
    assert (given.mechanism.value, given.username, given.password) == ("SCRAM-SHA-512", "me", "secret")
    tls = credentials(ClientSettings("a:1", security_protocol="SSL"))
    assert tls is not None
    assert tls.protocol.value == "SSL"


@pytest.fixture
def site(kafka: str, tmp_path: Path, topic_prefix: str) -> Site:
    site = Site(kafka, tmp_path, topic_prefix, free_ports())
    site.make_sources()
    return site


async def publish(brokers: str, topic: str, key: str, *, commit: bool) -> None:
    """A result in a transaction of its own, committed or aborted."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, transactional_id=f"{topic}-{key}")
    await producer.start()
    try:
        await producer.begin_transaction()
        record = f'{{"key": "{key}", "average": 99.0, "games": 1}}'.encode()
        await producer.send_and_wait(topic, record, partition=0)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


def test_an_agent_on_an_output_topic_sees_committed_results_only(site: Site, tmp_path: Path) -> None:
    environment = {"STREAMFOLD_CONFIG": str(site.file), "PYTHONPATH": os.pathsep.join([*sys.path, str(EXAMPLES)])}
    log = tmp_path / "worker.log"
    command = [FAUST, "--workdir", str(tmp_path), "-A", "alerts", "worker", "-l", "info", "--logfile", str(log)]
    with process(command, **environment) as worker:
        until(lambda: is_ready(site.port), 60, "ready", worker)
        asyncio.run(publish(site.brokers, f"{site.name}-player", "undone", commit=False))
        asyncio.run(publish(site.brokers, f"{site.name}-player", "done", commit=True))
        site.send("scores", [(b"high", {"score": 95}), (b"low", {"score": 5})])
        until(lambda: site.committed() == 2, 60, "folded and committed", worker)
        for said in ("high averages 95.0", "done averages 99.0"):
            until(lambda said=said: said in log.read_text(), 60, said, worker)  # type: ignore[misc]
        code, rest = end(worker)
    assert code == 0, rest
    assert "undone averages" not in log.read_text()
    assert "low averages" not in log.read_text()
    assert not list(tmp_path.glob("*-data"))
    admin = Admin(ClientSettings(site.brokers))
    there = admin.describe([f"{site.name}-agents-__assignor-__leader", f"{site.name}-player"])
    admin.close()
    assert set(there) == {f"{site.name}-player"}


@pytest.mark.parametrize(("file", "said"), [("", "STREAMFOLD_CONFIG is not set"), ("no-such.toml", "no-such.toml")])
def test_faust_without_a_configuration_says_so(tmp_path: Path, file: str, said: str) -> None:
    with process([FAUST, "--workdir", str(tmp_path), "-A", "pipeline.worker", "worker"], STREAMFOLD_CONFIG=file) as it:
        output, _ = it.communicate(timeout=30)
    assert it.returncode == 2
    assert said in output
    assert "Traceback" not in output


def test_faust_ends_as_the_command_does(site: Site) -> None:
    """No agents: the same worker, the same end, and the exit code of what it crashes of."""
    command = [FAUST, "-A", "pipeline.worker:app", "worker"]
    with process(command, STREAMFOLD_CONFIG=str(site.file)) as worker:
        until(lambda: is_ready(site.port), 60, "ready", worker)
        with process(command, STREAMFOLD_CONFIG=str(site.file)) as second:
            output, _ = second.communicate(timeout=30)
        assert second.returncode == 2
        assert "in use" in output
        assert end(worker, signal.SIGINT)[0] == 0
