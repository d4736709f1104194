"""How every client of this process reaches the broker: address, security, and never a topic made by accident."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.mends import LookupOnly
from pipeline.errors import InputError, KafkaStateError

if TYPE_CHECKING:
    from pipeline.core.config.model import App

log = logging.getLogger(__name__)

_KNOCK_SECONDS = 0.25
_SAY_SECONDS = 1.0
"""A wait that is longer than this is told of."""

_CLOSE_SECONDS = 3.0
_SILENT = "it closes the connection at the first question"
_FILES = "name readable PEM files in ssl_cafile, ssl_certfile and ssl_keyfile, and a locked key's ssl_key_password"
_WITH_TOPIC_IDS = 10
"""The first version of metadata that tells them: Kafka 2.8."""

_TLS_ALERT = 0x1503
"""The first two bytes of a TLS alert, which a client that expects Kafka takes for the upper half of a length."""

_REFUSED = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


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
    ssl_key_password: str | None = field(default=None, repr=False)
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
        """Wait for a broker that lets us in, up to ``timeout`` seconds, and say so if it takes a while.

        Raises:
            KafkaStateError: at once, if a broker answers but refuses the login or the TLS handshake.
            Unreachable: none answered in time.
        """
        began, said = time.monotonic(), False
        before: list[str | None] = []
        while True:
            failures = [
                await self._knock(host, port, timeout) for host, port, _ in collect_hosts(self.bootstrap_servers)
            ]
            if None in failures:
                return
            if failures == before == [_SILENT] * len(failures):
                raise KafkaStateError(
                    f"the broker at {self.bootstrap_servers} answers, but {_SILENT[3:]}",
                    "it asks for a login: set security_protocol, sasl_mechanism, sasl_username and sasl_password",
                )
            before = failures
            waited = time.monotonic() - began
            if waited >= timeout:
                raise Unreachable(
                    f"no broker at {self.bootstrap_servers} within {timeout:g} s ({failures[0]})",
                    "start Kafka, or correct `brokers`; `streamfold run --embedded` brings its own",
                )
            if waited >= _SAY_SECONDS and not said:
                where = self.bootstrap_servers
                log.warning("no broker at %s yet (%s): waiting up to %g s for one", where, failures[0], timeout)
                said = True
            await asyncio.sleep(_KNOCK_SECONDS)

    async def _knock(self, host: str, port: int, timeout: float) -> str | None:
        """Connect once; what went wrong, or None."""
        arguments = self.for_aiokafka()
        del arguments["bootstrap_servers"]
        connection = AIOKafkaConnection(host, port, request_timeout_ms=5_000, **arguments)
        try:
            async with asyncio.timeout(timeout):
                await connection.connect()
            # A broker that asks for a login still tells its versions to whoever did not log in, and then hangs up.
            await connection.send(LookupOnly([]))
            if is_old(connection._versions):
                raise KafkaStateError(
                    f"the broker at {host}:{port} is too old: its topics have no ids",
                    "upgrade it to Kafka 2.8 or later",
                )
        except (OSError, KafkaError, TimeoutError) as error:
            if (refusal := _refusal(f"{host}:{port}", error)) is not None:
                raise refusal from None
            if isinstance(error, ConnectionResetError) and "ssl_context" in arguments:
                return "it hangs up on TLS: see that this is its port for that"
            if isinstance(error, KafkaConnectionError) and connection._versions:
                return _SILENT
            return str(error) or type(error).__name__
        finally:
            closed = connection.close()
            if connection._protocol is not None:
                await asyncio.wait([closed], timeout=_CLOSE_SECONDS)
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
                # Without a password the library would ask for one, at a terminal that may not be there.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, self.ssl_key_password or "")
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(f for f in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile) if f)
            reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or "not a PEM file"
            cause = f"cannot read the certificates ({files}): {reason}"
            raise InputError(cause, _FILES) from error
        return context


def is_old(versions: Mapping[int, tuple[int, int]]) -> bool:
    """Whether these versions of requests, by API key, are those of a broker whose topics can't be told from later ones.

    Without that, old state would go on over a source that was deleted and made again.
    """
    return versions[LookupOnly.API_KEY][1] < _WITH_TOPIC_IDS


def _refusal(broker: str, error: Exception) -> KafkaStateError | None:
    """Why a broker that answers doesn't let us in; None if another try may go better."""
    cause = error.__cause__
    if isinstance(error, _REFUSED):
        mend = "correct sasl_mechanism, sasl_username and sasl_password, and see that the user has such a password"
        return KafkaStateError(f"the broker at {broker} refuses the login: {_sentence(error)}", mend)
    if isinstance(cause, asyncio.IncompleteReadError) and (cause.expected or 0) >> 16 == _TLS_ALERT:
        return KafkaStateError(f"the broker at {broker} asks for TLS", 'set security_protocol to "SSL" or "SASL_SSL"')
    for failure in (error, cause):
        if isinstance(failure, ssl.SSLCertVerificationError):
            return KafkaStateError(
                f"the certificate of the broker at {broker} is not to be trusted: {failure.verify_message}",
                "set ssl_cafile to its authority's certificate, and call the broker in `brokers` what its own one says",
            )
        # A connection that ends in the middle of the handshake is what a broker leaves that is being stopped.
        if isinstance(failure, ssl.SSLError) and not isinstance(failure, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            reason = (failure.reason or str(failure)).lower().replace("_", " ")
            mend = "correct security_protocol and the ssl_ files"
            if "certificate" in reason or "handshake failure" in reason:
                mend = "set ssl_certfile and ssl_keyfile to a certificate that the broker accepts"
            return KafkaStateError(f"no TLS with the broker at {broker}: {reason}", mend)
    return None


def _sentence(error: Exception) -> str:
    """What the broker says, where it says something."""
    said = [part for part in error.args if isinstance(part, str)]
    return said[0] if said else type(error).__name__
