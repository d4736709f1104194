from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, client
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchError, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.metadata import MetadataRequest_v0, MetadataRequest_v5
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka import KafkaProducer
from kafka.net.inet import KafkaNetSocket
from kafka.producer import transaction_manager as kafka_python

from operators import Count
from pipeline.core.config.model import App, Stream, Table
from pipeline.core.config.security import KafkaSecurity
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.consumer import ColumnarConsumer
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.errors import InputError, KafkaStateError
from tests.kafka.clients import run, unique


def test_the_private_names_of_aiokafka_are_where_we_use_them() -> None:
    """What the modules beside `client.py` reach into: a new version is read before it is pinned."""
    assert importlib.metadata.version("aiokafka") == "0.14.0"
    held = {
        AIOKafkaConsumer.__init__: "self._client self._subscription self._fetcher self._coordinator self._loop "
        "self._closed",
        Fetcher.__init__: "self._records self._fetch_task self._pending_tasks self._wait_consume_future "
        "self._isolation_level",
        FetchResult.__init__: "self._partition_records self._assignment",
        FetchError.__init__: "self._error",
        PartitionRecords.__init__: "self._records self.next_fetch_offset self._aborted_producers self._isolation_level "
        "self._records_iterator",
        GroupCoordinator.__init__: "self._coordination_task self._heartbeat_task self._commit_refresh_task",
        TopicPartitionState.__init__: "self.highwater self.lso",
        AIOKafkaProducer.__init__: "self._txn_manager self._message_accumulator self._sender self._closed self.client "
        "self._request_timeout_ms",
        MessageAccumulator.__init__: "self._txn_manager self._batches",
        MessageBatch.__init__: "self._drain_waiter",
        Sender.__init__: "self._sender_task",
        TransactionManager.__init__: "self._sequence_numbers self.state self._txn_consumer_group "
        "self._transaction_waiter",
        BatchBuilder.__init__: "self._builder self._relative_offset",
        AIOKafkaConnection.__init__: "self._versions self._protocol",
    }
    for owner, names in held.items():
        source = inspect.getsource(owner)
        assert [name for name in names.split() if f"{name} =" not in source and f"{name}:" not in source] == []
    called = {
        Fetcher: "_notify _create_fetch_waiter seek_to close",
        FetchResult: "check_assignment has_more _update_position",
        PartitionRecords: "_consume_aborted_up_to _contains_abort_marker",
        GroupCoordinator: "check_errors",
        SubscriptionState: "fetch_context reassignment_in_progress wait_for_assignment is_assigned resume subscription",
        Assignment: "active state_value",
        TopicPartitionState: "has_valid_position position",
        Sender: "_maybe_do_transactional_request _send_produce_req _do_txn_offset_commit _do_txn_commit sender_task",
        TransactionManager: "increment_sequence_number sequence_number wait_for_transaction_end begin_transaction "
        "is_in_transaction maybe_add_partition_to_txn notify_task_waiter consumer_group_to_add",
        client.AIOKafkaClient: "_wait_on_metadata force_metadata_update close",
        DefaultRecordBatch: "validate_crc base_offset next_offset producer_id is_control_batch is_transactional",
        DefaultRecordBatchBuilder: "append size",
    }
    for owner, names in called.items():
        assert [name for name in names.split() if not hasattr(owner, name)] == []


def test_the_private_names_of_kafka_python_are_where_we_use_them() -> None:
    assert importlib.metadata.version("kafka-python") == "3.0.12"
    assert "self._transaction_manager =" in inspect.getsource(KafkaProducer.__init__)
    assert "self._supports_epoch_bump()" in inspect.getsource(kafka_python.TransactionManager)
    assert "self.sock_connect(" in inspect.getsource(KafkaNetSocket.connect)


def test_every_metadata_request_of_this_process_forbids_to_make_topics() -> None:
    for arguments in ((), (["a"],), ([],)):
        request = client.MetadataRequest(*arguments).build(MetadataRequest_v5)
        assert request.allow_auto_topic_creation is False
        assert request.topics == (arguments[0] if arguments else None)
    assert client.MetadataRequest([]).build(MetadataRequest_v0).topics == []
    # Both places that ask, and no other, take the name from the module.
    assert inspect.getsource(client).count("MetadataRequest(") == 2


async def _fence(kafka: str) -> None:
    producer = await TransactionalProducer.fence(ClientSettings(kafka), unique("id"))
    await producer.close()


async def _read(kafka: str) -> None:
    consumer = ColumnarConsumer.reader(ClientSettings(kafka))
    try:
        await consumer.start()
    finally:
        await consumer.shutdown()


@pytest.mark.parametrize("work", [_fence, _read])
def test_who_is_cancelled_while_it_connects_leaves_no_connection_behind(
    kafka: str, work: Callable[[str], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its requests: `run` hears of every connection that is left."""
    send, requests = AIOKafkaConnection.send, 0

    async def cancelled_at(last: int) -> None:
        nonlocal requests
        requests = 0

        def counted(self: AIOKafkaConnection, *arguments: Any, **options: Any) -> Any:
            nonlocal requests
            requests += 1
            if requests == last:
                task.cancel()
            return send(self, *arguments, **options)

        monkeypatch.setattr(AIOKafkaConnection, "send", counted)
        task = asyncio.ensure_future(work(kafka))
        await asyncio.wait([task])
        if requests >= last:
            assert task.cancelled()
        else:
            task.result()
        gc.collect()

    async def scenario() -> None:
        last = 1
        while requests >= last - 1:
            await cancelled_at(last)
            last += 1
        assert last > 4

    run(scenario)


def _app(kafka: KafkaSecurity | None = None) -> App:
    stream = Stream(name="s", topic="t")
    return App(
        name="a",
        brokers="one:1,two:2",
        tables=[Table(name="t", stream=stream, operators={"n": Count()})],
        kafka=kafka,
    )


def test_the_settings_are_those_of_the_app() -> None:
    assert ClientSettings.of(_app()) == ClientSettings("one:1,two:2")
    settings = ClientSettings.of(
        _app(
            KafkaSecurity(
                security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="me", sasl_password="s3cret"
            )
        )
    )
    arguments = settings.for_aiokafka()
    assert arguments["bootstrap_servers"] == ["one:1", "two:2"]
    assert arguments["sasl_plain_username"] == "me"
    assert arguments["sasl_plain_password"] == "s3cret"
    assert arguments == settings.for_kafka_python()


def test_a_secret_is_not_shown() -> None:
    settings = ClientSettings("b:1", "SASL_SSL", "PLAIN", "someone", "s3cret")
    assert "s3cret" not in f"{settings!r} {settings}"
    assert "someone" not in f"{settings!r} {settings}"


def test_certificates_that_cannot_be_read_are_the_users_input(tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        with pytest.raises(InputError, match="cannot read the certificates") as raised:
            ClientSettings("b:1", "SSL", ssl_cafile=str(file)).for_aiokafka()
        assert str(file) in raised.value.cause


def test_a_broker_without_tls_is_told_from_one_that_is_not_there(kafka: str) -> None:
    with pytest.raises((KafkaStateError, Unreachable)):
        asyncio.run(ClientSettings(kafka, "SSL").reach(1))


def test_any_one_of_several_brokers_is_enough(kafka: str) -> None:
    asyncio.run(ClientSettings(f"127.0.0.1:1,{kafka}").reach(1))


def test_a_wait_for_a_broker_is_told_of_once_and_a_broker_that_is_there_is_no_news(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(ClientSettings(kafka).reach(30))
    assert "no broker" not in caplog.text
    with pytest.raises(Unreachable):
        asyncio.run(ClientSettings("127.0.0.1:1").reach(2))
    assert caplog.text.count("no broker at 127.0.0.1:1 yet") == 1
    assert "waiting up to 2 s for one" in caplog.text
