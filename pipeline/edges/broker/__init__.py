"""The embedded broker: a real Apache Kafka out of two Python packages, for trying, for the demo and for the tests."""

from pipeline.edges.broker.distribution import KAFKA_VERSION
from pipeline.edges.broker.embedded import EmbeddedKafka

__all__ = ["KAFKA_VERSION", "EmbeddedKafka"]
