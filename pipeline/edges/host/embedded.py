"""A pipeline with a Kafka of its own: for trying it out, and for a single machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.config.model import App
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topics import make_sources
from pipeline.edges.web.address import Address
from pipeline.errors import InputError

DATA = ".streamfold"

log = logging.getLogger(__name__)


@contextmanager
def embedded_kafka(app: App, file: Path) -> Iterator[None]:
    """Kafka on the address in ``brokers`` while the body runs, with its data in ``.streamfold`` beside the file.

    Source topics that are missing are made.

    Raises:
        InputError: the address is not one of this machine alone, asks for a login or TLS, or is in use.
        KafkaStateError: Kafka can't be fetched or started.
    """
    if "," in app.brokers or not Address.parse(app.brokers).loopback:
        raise InputError(
            f"--embedded needs one loopback address in `brokers`, found {app.brokers}",
            'set brokers = "localhost:9092" in [app], or run without --embedded',
        )
    if app.kafka is not None and app.kafka.security_protocol != "PLAINTEXT":
        raise InputError("the embedded Kafka has no TLS and no login", "leave [app.kafka] out, or --embedded")
    address = Address.parse(app.brokers)
    data = file.absolute().parent / DATA
    log.info("starting a Kafka at %s, with its data in %s", app.brokers, data)
    with EmbeddedKafka(address.port, data, address.host):
        admin = Admin(ClientSettings.of(app))
        try:
            make_sources(admin, app)
        finally:
            admin.close()
        yield
