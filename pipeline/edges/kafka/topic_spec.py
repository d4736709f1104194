"""A topic as it should be, and as the broker describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import KafkaStateError

DEAD_LETTER_HEADROOM = 64 * 1024


@dataclass(frozen=True)
class TopicInfo:
    """A topic as the broker describes it; ``topic_id`` tells it from a later one of the same name."""

    name: str
    topic_id: str
    partitions: int
    replication: int
    cleanup_policy: str
    max_message_bytes: int
    min_insync_replicas: int
    operations: frozenset[str]
    """What this user may do with it, in Kafka's words: READ, WRITE, ..."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be. One that exists is compared in what decides over right and wrong results.

    That is the number of partitions (``exactly``, or at least so many), and the clean-up policy where it is ``strict``.
    """

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    exactly: bool = False
    strict: bool = False

    @classmethod
    def source(cls, name: str, partitions: int, replication: int = 1) -> TopicSpec:
        """An input topic, with the broker's defaults."""
        return cls(name, partitions, replication, {})

    @classmethod
    def changelog(cls, name: str, partitions: int, replication: int = 1) -> TopicSpec:
        """Compacted, early and in small segments, for it is read from end to end at every restore."""
        configs = {
            "cleanup.policy": "compact",
            "segment.bytes": str(64 * 1024 * 1024),
            "min.cleanable.dirty.ratio": "0.1",
            **_durable(replication),
        }
        return cls(name, partitions, replication, configs, exactly=True, strict=True)

    @classmethod
    def repartition(cls, name: str, partitions: int, replication: int = 1) -> TopicSpec:
        """Kept until it is folded, however long that takes: it is emptied behind the committed offset."""
        configs = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", **_durable(replication)}
        return cls(name, partitions, replication, configs, exactly=True, strict=True)

    @classmethod
    def output(cls, name: str, partitions: int, emit: str, replication: int = 1) -> TopicSpec:
        """Every event's result is kept by time, each key's latest for ever."""
        policy = "compact" if emit == "commit" else "delete"
        return cls(name, partitions, replication, {"cleanup.policy": policy, **_durable(replication)})

    @classmethod
    def dead_letters(cls, name: str, partitions: int, largest_source: int, replication: int = 1) -> TopicSpec:
        """``largest_source`` is the greatest max.message.bytes of the sources: their records fit, with our headers."""
        configs = {"cleanup.policy": "delete", "max.message.bytes": str(largest_source + DEAD_LETTER_HEADROOM)}
        # Compacted, it would refuse events without a key, and with them the commit.
        return cls(name, partitions, replication, {**configs, **_durable(replication)}, strict=True)

    def mismatch(self, info: TopicInfo) -> KafkaStateError | None:
        """What is wrong with a topic that is there, or None."""
        if info.partitions < self.partitions or (self.exactly and info.partitions > self.partitions):
            wanted = f"{'' if self.exactly else 'at least '}{self.partitions}"
            return KafkaStateError(
                f"topic {self.name} has {info.partitions} partitions instead of {wanted}",
                f"`streamfold reset FILE`, or make {self.name} anew as it should be",
            )
        policy = self.configs.get("cleanup.policy")
        if self.strict and info.cleanup_policy != policy:
            return KafkaStateError(
                f"topic {self.name} has cleanup.policy {info.cleanup_policy} instead of {policy}",
                f"set it to {policy}; `streamfold reset FILE` if what was deleted meanwhile was state",
            )
        return None


def _durable(replication: int) -> dict[str, str]:
    """With three replicas an acknowledged commit is on two of them, or it can be lost with one."""
    return {"min.insync.replicas": "2"} if replication >= 3 else {}
