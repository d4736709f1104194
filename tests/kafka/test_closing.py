"""A producer of kafka-python ends quietly, whatever it still holds."""

from __future__ import annotations

from contextlib import closing

from kafka import KafkaProducer

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.closing import close_producer
from pipeline.edges.kafka.topic_spec import TopicSpec


def test_what_can_not_be_sent_any_more_is_dropped() -> None:
    with EmbeddedKafka() as broker:
        with closing(Admin(ClientSettings(broker.address))) as admin:
            admin.create([TopicSpec.source("events", 1)])
        producer = KafkaProducer(bootstrap_servers=broker.address)
        producer.send("events", b"{}").get(timeout=30)
    sent = producer.send("events", b"{}")  # the broker is gone
    close_producer(producer, 0.5)
    assert producer._closed
    assert not producer._sender.is_alive()
    assert sent.failed()
