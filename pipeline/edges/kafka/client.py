"""How every client of this process reaches the broker: address, security, and never a topic made by accident."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import aiokafka.client
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.edges.kafka.errors import Unreachable
from pipeline.errors import InputError, KafkaStateError

if TYPE_CHECKING:
    from pipeline.core.config.model import App


_KNOCK_SECONDS = 0.25
_REFUSED = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


class _LookupOnly(MetadataRequest):  # type: ignore[misc]
    """A metadata request that never makes a topic.

    aiokafka's own asks the broker to create what it does not know, so that a deleted changelog would come back with
    one partition, the wrong clean-up policy and without its rows, under a worker that goes on as if nothing happened.
    """

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


# Producer and consumer build their own client, so the one place common to all of them, Faust's too, is this name.
aiokafka.client.MetadataRequest = _LookupOnly


@dataclass(frozen=True)
class ClientSettings:
    """Address and security of the Kafka cluster; ``repr`` shows no secret.

    ``bootstrap_servers`` is ``"host:port[,host:port]"``; the rest are Kafka's own names, ``ssl_*`` are PEM files.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = field(default=None, repr=False)
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    client_id: str = "streamfold"

    @classmethod
    def of(cls, app: App) -> ClientSettings:
        """What an app's configuration says."""
        if app.kafka is None:
            return cls(app.brokers)
        return cls(app.brokers, **{option.name: getattr(app.kafka, option.name) for option in fields(app.kafka)})

    def for_aiokafka(self) -> dict[str, Any]:
        """Keyword arguments of aiokafka's clients. Raises `InputError` if a certificate file cannot be read."""
        settings = self._common()
        if self.security_protocol.endswith("SSL"):
            settings["ssl_context"] = self._ssl_context()
        return settings

    def for_kafka_python(self) -> dict[str, Any]:
        """Keyword arguments of kafka-python's clients. Raises `InputError` if a certificate file cannot be read."""
        return self.for_aiokafka()

    async def reach(self, timeout: float) -> None:
        """Wait for a broker that lets us in, up to ``timeout`` seconds.

        Raises:
            KafkaStateError: at once, if a broker answers but refuses the login or the TLS handshake.
            Unreachable: none answered in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            failures = [
                await self._knock(host, port, timeout) for host, port, _ in collect_hosts(self.bootstrap_servers)
            ]
            if None in failures:
                return
            if time.monotonic() >= deadline:
                raise Unreachable(
                    f"no broker at {self.bootstrap_servers} within {timeout:g} s ({failures[0]})",
                    "start Kafka, or correct `brokers`; `streamfold run --embedded` brings its own",
                )
            await asyncio.sleep(_KNOCK_SECONDS)

    async def _knock(self, host: str, port: int, timeout: float) -> str | None:
        """Connect once; what went wrong, or None."""
        arguments = self.for_aiokafka()
        del arguments["bootstrap_servers"]
        try:
            async with asyncio.timeout(timeout):
                connection = await create_conn(host, port, request_timeout_ms=5_000, **arguments)
        except _REFUSED as error:
            cause = f"the broker at {host}:{port} refuses the login: {error}"
            raise KafkaStateError(cause, "correct sasl_mechanism, sasl_username and sasl_password") from None
        except ssl.SSLError as error:
            cause = f"no TLS with the broker at {host}:{port}: {error.reason or error}"
            raise KafkaStateError(cause, "correct security_protocol and the ssl_ files") from None
        except (OSError, KafkaError, TimeoutError) as error:
            return str(error) or type(error).__name__
        connection.close()
        return None

    def _common(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            settings["sasl_mechanism"] = self.sasl_mechanism or "PLAIN"
            settings["sasl_plain_username"] = self.sasl_username
            settings["sasl_plain_password"] = self.sasl_password
        return settings

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(f for f in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile) if f)
            reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or "not a PEM file"
            cause = f"cannot read the certificates ({files}): {reason}"
            raise InputError(cause, "name readable PEM files in ssl_cafile, ssl_certfile and ssl_keyfile") from error
        return context
