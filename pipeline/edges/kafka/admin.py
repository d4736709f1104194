"""Topics, offsets, groups and transactions, as an administrator sees them.

Everything here blocks: call it from a thread. It works through kafka-python, the second client of this project, so what
it reports is independent of the client that writes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aiokafka import TopicPartition
from kafka import TopicPartition as Partition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka.errors import (
    AuthorizationError,
    GroupIdNotFoundError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.structs import OffsetAndMetadata

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.errors import Failed, Unreachable
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.topic_spec import TopicInfo, TopicSpec
from pipeline.errors import KafkaStateError

T = TypeVar("T")

Isolation = Literal["read_committed", "read_uncommitted"]

_REQUEST_MS = 10_000
_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.1
_ALL_FENCED = "All brokers are currently fenced"
"""Kafka has no code of its own for this: it says so under that of a replication factor which it can't grant."""

_CONFIGS = ("cleanup.policy", "max.message.bytes", "min.insync.replicas")


@dataclass(frozen=True)
class Bounds:
    """The first offset of a partition, and the one after its last record (of those that may be read)."""

    start: int
    end: int


class Admin:
    """An administrator's view of one cluster. Connects at the first call, within ``timeout`` seconds.

    Every call raises `KafkaStateError` where the broker refuses, and its kind `Unreachable` where it does not answer.
    """

    def __init__(self, settings: ClientSettings, timeout: float = 30.0) -> None:
        self._settings = settings
        self._timeout = timeout
        self._client: Any = None
        self._connecting = threading.Lock()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    # -- topics -------------------------------------------------------------------------------------------------------

    def describe(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """The topics of these names that exist. Refuses one that this user may not see, or whose settings it may not.

        That would look as if it did not exist.
        """
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        with self._asking() as client:
            found = [topic for topic in client.describe_topics(wanted) if _usable(topic)]
            configs = self._configs(client, [topic["name"] for topic in found if _open(topic)])
        return {topic["name"]: _info(topic, configs[topic["name"]]) for topic in found if topic["name"] in configs}

    def names(self) -> set[str]:
        """Of all topics that this user may see, also of those that have no leader yet."""
        with self._asking() as client:
            return set(client.list_topics())

    def create(self, specs: Iterable[TopicSpec]) -> dict[str, TopicInfo]:
        """Make the topics that are missing, wait until they can be seen, and check all of them.

        That another made a topic at the same moment is no error; that it is another topic is.
        """
        wanted = {spec.name: spec for spec in specs}
        there = self.describe(wanted)
        missing = {name: _request(spec) for name, spec in wanted.items() if name not in there}
        if missing:
            self._await(lambda: self._made(missing), "all brokers are fenced: no topic can be made")
            there = self._await(lambda: self._all_of(wanted), f"topics {', '.join(missing)} do not appear")
        for name, spec in wanted.items():
            if (trouble := spec.mismatch(there[name])) is not None:
                raise trouble
        return there

    def refusals(self, specs: Iterable[TopicSpec]) -> list[KafkaStateError]:
        """Why the broker would not make these topics. Makes none."""
        wanted = {spec.name: _request(spec) for spec in specs}
        if not wanted:
            return []
        with self._asking() as client:
            return list(_refusals(client.create_topics(wanted, validate_only=True, raise_errors=False)))

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics and wait until they are gone; one that is not there is no error."""
        wanted = list(names)
        if not wanted:
            return
        with self._asking() as client:
            answer = client.delete_topics(wanted, raise_errors=False)
        for topic in answer["topics"]:
            error = for_code(topic["error_code"])
            if topic["error_code"] and error is not UnknownTopicOrPartitionError:
                raise KafkaStateError(f"cannot delete topic {topic['name']}: {error.__name__}", "delete it by hand")
        self._await(lambda: not self.describe(wanted) or None, f"topics {', '.join(wanted)} do not go away")

    # -- offsets ------------------------------------------------------------------------------------------------------

    def bounds(self, tp: TopicPartition, isolation: Isolation = "read_uncommitted") -> Bounds:
        """Start and end of one partition: see `all_bounds`."""
        return self.all_bounds([tp], isolation)[tp]

    def all_bounds(
        self, tps: Iterable[TopicPartition], isolation: Isolation = "read_uncommitted"
    ) -> dict[TopicPartition, Bounds]:
        """Start and end; the end is the high watermark, or for ``read_committed`` the last stable offset."""
        wanted = [Partition(*tp) for tp in tps]
        with self._asking() as client:
            starts, ends = (
                client.list_partition_offsets(dict.fromkeys(wanted, spec), isolation_level=isolation) if wanted else {}
                for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
            )
        return {TopicPartition(*tp): Bounds(starts[tp].offset, ends[tp].offset) for tp in wanted}

    def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Let the records go that lie before these offsets."""
        with self._asking() as client:
            client.delete_records({Partition(*tp): offset for tp, offset in before.items()})

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """The group's committed offsets, where it has any."""
        with self._asking() as client:
            offsets = client.list_group_offsets({group: None})[group]
        return {TopicPartition(*tp): found.offset for tp, found in offsets.items() if found.offset >= 0}

    def set_committed(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set committed offsets of a group without members."""
        request = {Partition(*tp): OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}
        with self._asking() as client:
            for tp, error in client.alter_group_offsets(group, request).items():
                if error.errno:
                    raise KafkaStateError(
                        f"cannot set the offset of {group} at {tp.topic}-{tp.partition}: {error.__name__}",
                        "stop the group's members first",
                    )

    def delete_committed(self, group: str) -> None:
        """Delete a group without members, with its offsets; one that is not there is no error."""
        with self._asking() as client:
            outcome = client.delete_groups([group])[group]
        if outcome not in ("OK", GroupIdNotFoundError.__name__):
            raise KafkaStateError(f"cannot delete the offsets of group {group}: {outcome}", "stop its members first")

    def members(self, group: str) -> list[str]:
        """Who is in the group now: client id and host of each member."""
        with self._asking() as client:
            described = client.describe_groups([group])[group]
        return [f"{member['client_id']} at {member['client_host']}" for member in described["members"]]

    # -- transactions -------------------------------------------------------------------------------------------------

    def fence(self, transactional_ids: Sequence[str]) -> None:
        """Take these ids over and let go: whoever held one can write no more, open transactions are finished."""

        async def take(transactional_id: str) -> None:
            producer = await TransactionalProducer.fence(self._settings, transactional_id)
            await producer.close()

        async def take_all() -> None:
            await asyncio.gather(*(take(transactional_id) for transactional_id in transactional_ids))

        try:
            asyncio.run(take_all())
        except Failed as error:
            raise Unreachable(str(error), error.mend or "see that the broker is up, then do it again") from error

    def ask(self, question: Callable[[Any], T]) -> T:
        """What kafka-python's administrator answers to a question that is asked in one place only."""
        with self._asking() as client:
            return question(client)

    # -- inside -------------------------------------------------------------------------------------------------------
    def _all_of(self, wanted: Mapping[str, TopicSpec]) -> dict[str, TopicInfo] | None:
        there = self.describe(wanted)
        return there if len(there) == len(wanted) else None

    def _configs(self, client: Any, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        if not names:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_CONFIGS)) for name in names]
        described: dict[str, dict[str, Any]] = client.describe_configs(resources, config_filter="all")["topic"]
        # Of a topic that was deleted between the two questions there is a name without configs.
        return {name: config for name, config in described.items() if config}

    def _made(self, topics: Mapping[str, Mapping[str, Any]]) -> Literal[True] | None:
        """Ask for topics; None while there is no broker to place them on: one has just started, or was held up."""
        with self._asking() as client:
            answer = client.create_topics(topics, raise_errors=False)
        if any(_ALL_FENCED in (topic["error_message"] or "") for topic in answer["topics"]):
            return None
        for refusal in _refusals(answer):
            raise refusal
        return True

    def _await(self, look: Callable[[], T | None], trouble: str) -> T:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (seen := look()) is None:
            if time.monotonic() > deadline:
                raise KafkaStateError(f"{trouble} within {_SETTLE_SECONDS:g} s", "see the broker's log")
            time.sleep(_POLL_SECONDS)
        return seen

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """The connected client; turns its errors into ours."""
        try:
            yield self._connected()
        except AuthorizationError as error:
            raise KafkaStateError(f"this user may not do that: {error}", "give it the permission") from error
        except UnknownTopicOrPartitionError as error:
            raise KafkaStateError(f"a topic or partition does not exist: {error}", "see that it was made") from error
        except (KafkaError, OSError) as error:
            cause = f"the broker at {self._settings.bootstrap_servers} does not answer as it should: {error!r}"
            raise Unreachable(cause, "see that it is up and reachable") from error

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                # kafka-python would try a refused login again and again until the time is over.
                asyncio.run(self._settings.reach(self._timeout))
                self._client = KafkaAdminClient(
                    **self._settings.for_kafka_python(),
                    bootstrap_timeout_ms=int(self._timeout * 1000),
                    request_timeout_ms=_REQUEST_MS,
                    reconnect_backoff_max_ms=1_000,
                )
            return self._client


def _refusals(answer: Mapping[str, Any]) -> Iterator[KafkaStateError]:
    """The topics that were not made, with the reason; that there is one already is none."""
    for topic in answer["topics"]:
        error = for_code(topic["error_code"])
        if topic["error_code"] and error is not TopicAlreadyExistsError:
            mend = "set replication in [app] to what the cluster has brokers for"
            if error is not InvalidReplicationFactorError:
                mend = f"make it by hand, or grant Create on {topic['name']}"
            reason = topic["error_message"] or error.__name__
            yield KafkaStateError(f"cannot make topic {topic['name']}: {reason}", mend)


def _request(spec: TopicSpec) -> dict[str, Any]:
    return {
        "num_partitions": spec.partitions,
        "replication_factor": spec.replication,
        "configs": dict(spec.configs),
    }


def _usable(topic: Mapping[str, Any]) -> bool:
    """Whether a described topic exists and each of its partitions has a leader."""
    if for_code(topic["error_code"]) is TopicAuthorizationFailedError:
        raise KafkaStateError(f"this user may not see topic {topic['name']}", f"grant Describe on {topic['name']}")
    if topic["error_code"]:
        return False
    return all(not partition["error_code"] and partition["leader_id"] >= 0 for partition in topic["partitions"])


def _open(topic: Mapping[str, Any]) -> bool:
    """Whether the settings of a described topic may be read."""
    if "DESCRIBE_CONFIGS" not in topic["authorized_operations"]:
        raise KafkaStateError(
            f"this user may not read the settings of topic {topic['name']}", f"grant DescribeConfigs on {topic['name']}"
        )
    return True


def _info(topic: Mapping[str, Any], configs: Mapping[str, Any]) -> TopicInfo:
    return TopicInfo(
        name=topic["name"],
        topic_id=str(topic["topic_id"]),
        partitions=len(topic["partitions"]),
        replication=len(topic["partitions"][0]["replica_nodes"]),
        cleanup_policy=configs["cleanup.policy"]["value"],
        max_message_bytes=int(configs["max.message.bytes"]["value"]),
        min_insync_replicas=int(configs["min.insync.replicas"]["value"]),
        operations=frozenset(topic["authorized_operations"]),
    )
