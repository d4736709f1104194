"""A broker that lets nobody in without a certificate or a password, and nobody do what no rule allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pipeline.core.config.security import KafkaSecurity
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port

HOST = "127.0.0.1"
MARKER = "open-sesame-4711"
"""In every secret; must be in nothing that anyone sees."""

PASSWORD = f"{MARKER}-password"
WRONG = f"{MARKER}-mistyped"
OWNER, GUEST = "owner", "guest"
"""The first may do everything, the second only what a test allows."""

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Guarded:
    """Addresses of one broker: ``plain`` for whoever administers it, ``sasl`` and ``tls`` for those who are asked.

    Both of the latter speak TLS; ``tls`` asks for a certificate, ``sasl`` for a password. ``folder`` has the files.
    """

    plain: str
    sasl: str
    tls: str
    folder: Path

    def login(self, user: str = OWNER, mechanism: str = "SCRAM-SHA-512", **options: str | None) -> dict[str, str]:
        """Options of ``[app.kafka]`` for the address ``sasl``; None leaves one out."""
        given = {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": user,
            "sasl_password": PASSWORD,
            "ssl_cafile": str(self.folder / "ca.pem"),
        }
        return {name: value for name, value in (given | options).items() if value is not None}

    def certificate(self, **options: str | None) -> dict[str, str]:
        """Options of ``[app.kafka]`` for the address ``tls``; None leaves one out."""
        given = {
            "security_protocol": "SSL",
            "ssl_cafile": str(self.folder / "ca.pem"),
            "ssl_certfile": str(self.folder / "client.pem"),
            "ssl_keyfile": str(self.folder / "client.key"),
            "ssl_key_password": PASSWORD,
        }
        return {name: value for name, value in (given | options).items() if value is not None}

    def allow(self, resource: ResourceType, name: str, *operations: ACLOperation, prefix: bool = False) -> None:
        """Let the guest do something, with what has this name or, as a prefix, begins with it."""
        pattern = ACLResourcePatternType.PREFIXED if prefix else ACLResourcePatternType.LITERAL
        self._rule(ACLPermissionType.ALLOW, ResourcePattern(resource, name, pattern), *operations)

    def deny(self, resource: ResourceType, name: str, *operations: ACLOperation) -> None:
        """Forbid the guest something, whatever else allows it."""
        self._rule(ACLPermissionType.DENY, ResourcePattern(resource, name), *operations)

    def _rule(self, kind: ACLPermissionType, on: ResourcePattern, *operations: ACLOperation) -> None:
        rules = [ACL(f"User:{GUEST}", "*", operation, kind, on) for operation in operations]
        with closing(KafkaAdminClient(bootstrap_servers=self.plain)) as admin:
            failed = admin.create_acls(rules)["failed"]
        assert not failed, failed


def security(options: Mapping[str, str]) -> KafkaSecurity:
    return KafkaSecurity(**options)  # type: ignore[arg-type]


@contextmanager
def guarded_broker(folder: Path) -> Iterator[Guarded]:
    """Such a broker, with certificates of an authority of its own in ``folder``."""
    _certificates(folder)
    ports: list[int] = []
    for _ in range(4):
        ports.append(free_port(HOST, *ports))
    plain, sasl, tls, controller = ports
    listeners = f"PLAINTEXT://{HOST}:{plain},SASL_SSL://{HOST}:{sasl},SSL://{HOST}:{tls}"
    plain_login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{OWNER}="{PASSWORD}";'
    scram_login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "listener.name.sasl_ssl.plain.sasl.jaas.config": plain_login,
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram_login,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram_login,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{OWNER}",
        "listener.name.ssl.ssl.principal.mapping.rules": f"RULE:^.*CN={OWNER}.*$/{OWNER}/,DEFAULT",
    }
    with EmbeddedKafka(plain, host=HOST, properties=properties):
        broker = Guarded(f"{HOST}:{plain}", f"{HOST}:{sasl}", f"{HOST}:{tls}", folder)
        with closing(KafkaAdminClient(bootstrap_servers=broker.plain)) as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                users = [UserScramCredentialUpsertion(user, mechanism, PASSWORD) for user in (OWNER, GUEST)]
                assert not any(admin.alter_user_scram_credentials(users).values())
        yield broker


def _certificates(folder: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "other-ca.pem")
    server = authority.issue_cert(HOST, "localhost")
    key = _pkcs8(server.private_key_pem.bytes(), NoEncryption())
    (folder / "server.pem").write_bytes(key + b"".join(part.bytes() for part in server.cert_chain_pems))
    for name, issuer in (("client", authority), ("stranger", stranger)):
        client = issuer.issue_cert("client.example", common_name=OWNER)
        (folder / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in client.cert_chain_pems))
        locked = _pkcs8(client.private_key_pem.bytes(), BestAvailableEncryption(PASSWORD.encode()))
        (folder / f"{name}.key").write_bytes(locked)


def _pkcs8(key: bytes, protection: KeySerializationEncryption) -> bytes:
    """A private key in the form that Kafka reads."""
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
