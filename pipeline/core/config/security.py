# ruff: noqa: RUF009 - the defaults are descriptors, one for the class
"""How to talk to brokers that ask for TLS or a login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.core.config import kinds
from pipeline.core.config.checks import check_kafka
from pipeline.core.config.option import Option
from pipeline.core.secret import Secret

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class KafkaSecurity:
    """How to talk to a broker that asks for TLS or a login. Secrets don't show in the repr."""

    security_protocol: Option[Protocol, Protocol] = kinds.choice(Protocol, "PLAINTEXT", "How brokers are talked to.")
    sasl_mechanism: Option[Mechanism, Mechanism] = kinds.choice(Mechanism, "PLAIN", "How to log in.")
    sasl_username: Option[str | None, str | None] = kinds.optional(
        kinds.text("text that isn't empty", "The user to log in as.")
    )
    sasl_password: Option[str | None, Secret | None] = kinds.optional(
        kinds.secret("The password, best given as `${NAME}` or `file:PATH`.")
    )
    ssl_cafile: Option[str | None, str | None] = kinds.optional(
        kinds.text("a file's path", "Certificates that are trusted (PEM).", is_path=True)
    )
    ssl_certfile: Option[str | None, str | None] = kinds.optional(
        kinds.text("a file's path", "The client's certificate (PEM).", is_path=True)
    )
    ssl_keyfile: Option[str | None, str | None] = kinds.optional(
        kinds.text("a file's path", "The key of the client's certificate (PEM).", is_path=True)
    )
    ssl_key_password: Option[str | None, Secret | None] = kinds.optional(
        kinds.secret("What ssl_keyfile is locked with, best given as `${NAME}` or `file:PATH`.")
    )

    def __post_init__(self) -> None:
        check_kafka(self)
