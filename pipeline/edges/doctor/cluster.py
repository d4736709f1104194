"""The brokers: who they are, whether their settings leave room for ours, and what time they have."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import ClusterAuthorizationFailedError, KafkaError

from pipeline.core.config.model import App
from pipeline.edges.doctor.finding import Finding, ok, problem, warning
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.producer import Deadlines
from pipeline.errors import KafkaStateError

FAR_SECONDS = 3600.0
"""Kafka refuses records that are stamped later than this after its own time."""

_APART_SECONDS = 5.0
_SETTINGS = (
    "auto.create.topics.enable",
    "group.max.session.timeout.ms",
    "group.min.session.timeout.ms",
    "transaction.max.timeout.ms",
)


def cluster(admin: Admin, app: App) -> Iterator[Finding]:
    """Of a cluster that lets us in."""
    described = admin.ask(lambda client: client.describe_cluster())
    brokers = [broker["broker_id"] for broker in described["brokers"]]
    versions = admin.ask(lambda client: [client.get_broker_version_data(broker).broker_version for broker in brokers])
    version = ".".join(map(str, min(versions)))
    count = f"{len(brokers)} broker{'s' if len(brokers) > 1 else ''}"
    yield ok("broker", f"{app.brokers}: Kafka {version}, {count}")
    yield _login(app)
    settings = admin.ask(lambda client: [_settings(client, broker) for broker in brokers])
    if all(settings):
        found = [finding for values in settings for finding in unfit(app, values)]
        yield from dict.fromkeys(found)
        if not found:
            yield ok("settings", "the brokers' limits leave room for sessions and transactions")
    else:
        yield warning("settings", "this user may not read those of the brokers", "grant DescribeConfigs on the cluster")
    apart = admin.ask(_apart)
    if apart is None:
        yield warning("clock", "the brokers do not tell this user theirs", "grant Describe on the cluster")
    else:
        yield clock(apart)


def unfit(app: App, settings: Mapping[str, str]) -> Iterator[Finding]:
    """The settings of a broker that do not go with ours."""
    ours = Deadlines().transaction
    longest = int(settings["transaction.max.timeout.ms"]) / 1000
    if longest < ours:
        yield problem(
            "settings",
            KafkaStateError(
                f"transaction.max.timeout.ms is {longest:g} s, and a worker asks for transactions of {ours:g} s",
                f"set transaction.max.timeout.ms of the brokers to {ours * 1000:.0f} or more",
            ),
        )
    shortest, longest = (int(settings[f"group.{end}.session.timeout.ms"]) / 1000 for end in ("min", "max"))
    if not shortest <= app.session_timeout <= longest:
        yield problem(
            "settings",
            KafkaStateError(
                f"session_timeout is {app.session_timeout:g} s, and the brokers take {shortest:g} to {longest:g} s",
                f"set session_timeout in [app] to {max(shortest, min(longest, app.session_timeout)):g}s",
            ),
        )
    if settings["auto.create.topics.enable"] == "true":
        yield warning(
            "settings",
            "auto.create.topics.enable: a misspelt or deleted topic is made by whichever client names it",
            "set auto.create.topics.enable=false on the brokers; streamfold itself never makes topics that way",
        )


def clock(apart: float) -> Finding:
    """``apart`` is the seconds that this machine is ahead of the brokers."""
    if abs(apart) < _APART_SECONDS:
        return ok("clock", f"within {_APART_SECONDS:g} s of the brokers'")
    side = "ahead of" if apart > 0 else "behind"
    found = f"{abs(apart):.0f} s {side} the brokers'"
    mend = "keep the clocks of all machines in step (NTP)"
    if apart > FAR_SECONDS:
        return problem("clock", KafkaStateError(f"{found}: they refuse records from that far in the future", mend))
    return warning("clock", found, mend)


def _login(app: App) -> Finding:
    if app.kafka is None or app.kafka.security_protocol == "PLAINTEXT":
        return ok("login", "none: neither TLS nor a password")
    user = f", {app.kafka.sasl_mechanism} as {app.kafka.sasl_username}" if app.kafka.sasl_username else ""
    own = ", with a certificate" if app.kafka.ssl_certfile else ""
    return ok("login", f"{app.kafka.security_protocol}{user}{own}")


def _settings(client: KafkaAdminClient, broker: int) -> dict[str, str]:
    """Those of a broker that matter here; none if they may not be read."""
    resource = ConfigResource(ConfigResourceType.BROKER, str(broker), dict.fromkeys(_SETTINGS))
    described = client.describe_configs([resource], config_filter="all")["broker"][str(broker)]
    return {name: setting["value"] for name, setting in described.items()}


def _apart(client: KafkaAdminClient) -> float | None:
    """Seconds that we are ahead of the controller, as far as one question and its answer can tell."""
    asked = time.time()
    try:
        (quorum,) = client.describe_metadata_quorum()["topics"][0]["partitions"]
    except ClusterAuthorizationFailedError:
        return None
    except KafkaError:  # brokers without KRaft
        return 0.0
    answered = time.time()
    leader = next(voter for voter in quorum["current_voters"] if voter["replica_id"] == quorum["leader_id"])
    theirs: float = leader["last_caught_up_timestamp"] / 1000
    return min((asked - theirs, answered - theirs), key=abs)
