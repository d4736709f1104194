"""The clients against a broker that asks for a login."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.admin import Admin, Bounds
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Failed, Unreachable
from pipeline.edges.kafka.producer import Deadlines, TransactionalProducer
from pipeline.errors import KafkaStateError
from tests.kafka.clients import drain_to, make_topic, run, unique, values_of, write

_HOST = "127.0.0.1"
_RIGHT = "open-sesame"
_WRONG = "hunter-two"


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, str]]:
    """The open and the guarded address of a broker of our own."""
    plain, sasl, controller = (free_port(_HOST) for _ in range(3))
    listeners = f"PLAINTEXT://{_HOST}:{plain},SASL_PLAINTEXT://{_HOST}:{sasl}"
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_fold="{_RIGHT}";'
    properties = {
        "listeners": f"{listeners},CONTROLLER://{_HOST}:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@{_HOST}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
    }
    with EmbeddedKafka(plain, properties=properties):
        yield f"{_HOST}:{plain}", f"{_HOST}:{sasl}"


def _settings(address: str, password: str, mechanism: str = "PLAIN") -> ClientSettings:
    return ClientSettings(address, "SASL_PLAINTEXT", mechanism, "fold", password)


def test_with_the_right_password_every_client_is_let_in(guarded: tuple[str, str]) -> None:
    plain, sasl = guarded
    tp, settings = TopicPartition(make_topic(plain), 0), _settings(sasl, _RIGHT)

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
    admin = Admin(settings)
    assert admin.bounds(tp) == Bounds(0, 2)
    admin.close()


@pytest.mark.parametrize(("password", "mechanism"), [(_WRONG, "PLAIN"), (_RIGHT, "SCRAM-SHA-256")])
def test_a_refused_login_ends_at_once_and_shows_no_secret(
    guarded: tuple[str, str], caplog: pytest.LogCaptureFixture, password: str, mechanism: str
) -> None:
    settings = _settings(guarded[1], password, mechanism)
    began = time.monotonic()
    with pytest.raises(KafkaStateError, match="refuses the login") as raised:
        Admin(settings, timeout=60).describe(["any"])
    assert time.monotonic() - began < 30
    assert not isinstance(raised.value, Unreachable)

    async def scenario() -> None:
        with pytest.raises(Failed):
            await TransactionalProducer.fence(settings, unique("owner"), Deadlines(request=1, commit=2))

    asyncio.run(scenario())
    shown = f"{raised.value} {raised.value.mend} {caplog.text}"
    assert _WRONG not in shown
    assert _RIGHT not in shown
