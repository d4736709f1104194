"""What Faust's own consumer needs so that agents on our output topics see only what is committed.

Faust reads uncommitted records unless it runs transactions itself, so an agent would act on results that were aborted
and are published again. As an entry point, the transport serves any Faust app where this is installed. This is the only
module that knows where Faust and aiokafka keep the isolation level; their versions are pinned and a test names every
private name used here.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types.auth import CredentialsT

from pipeline.edges.kafka.client import ClientSettings

SCHEME = "committed"
"""Of the broker's URL, as Faust chooses its transport by it."""

TRANSPORTS.aliases[SCHEME] = f"{__name__}:CommittedTransport"


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(Transport):
    """Faust's transport, with a consumer that skips what was aborted and waits for what is not yet committed."""

    Consumer = _Consumer


def broker_urls(settings: ClientSettings) -> list[str]:
    """The brokers as Faust takes them."""
    return [f"{SCHEME}://{server}" for server in settings.bootstrap_servers.split(",")]


def credentials(settings: ClientSettings) -> CredentialsT | None:
    """TLS and login as Faust takes them; None for neither. Raises `InputError` if a certificate can't be read."""
    given = settings.for_aiokafka()
    context = given.get("ssl_context")
    if settings.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            mechanism=given["sasl_mechanism"],
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None
