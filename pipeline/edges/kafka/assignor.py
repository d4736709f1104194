"""Who in the group gets which partition: every topic is spread evenly, and what can stay where it is stays.

Kafka's sticky assignor balances the number of partitions alone. With two topics one worker may get all of the one and
another all of the other, which are not the same work: events come by the one, and what was made of them by the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

Held = Mapping[str, Iterable[TopicPartition]]


class Assignor(StickyPartitionAssignor):  # type: ignore[misc]
    """The sticky assignor, by name and by what members tell; another member may be the leader and have another way."""

    @classmethod
    def own(cls) -> type[Assignor]:
        """One for a single member: aiokafka keeps what the member held in the class, for all of a process."""
        return type("Assignor", (cls,), {})

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """What each member gets."""
        told = {member: cls.parse_member_metadata(metadata) for member, metadata in members.items()}
        subscribed = {member: frozenset(metadata.subscription) for member, metadata in told.items()}
        partitions = {
            topic: cluster.partitions_for_topic(topic) or set() for topic in frozenset().union(*subscribed.values())
        }
        # Of two who say that they hold a partition, one has slept through a rebalance.
        claims = sorted((metadata.generation, member) for member, metadata in told.items())
        owner = {tp: member for _, member in claims for tp in told[member].partitions}
        found = spread(partitions, subscribed, owner)
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, sorted(topics.items()), b"")
            for member, topics in found.items()
        }


def spread(
    partitions: Mapping[str, Iterable[int]],
    subscribed: Mapping[str, frozenset[str]],
    owner: Mapping[TopicPartition, str],
) -> dict[str, dict[str, list[int]]]:
    """By member and topic, the partitions that it gets.

    Of each topic members get the same number, some one more: those who have fewest in all, and of these those who have
    more of it already. Everyone keeps as many as are due.
    """
    found: dict[str, dict[str, list[int]]] = {member: {} for member in subscribed}
    total = dict.fromkeys(subscribed, 0)
    for topic in sorted(partitions):
        members = [member for member in sorted(subscribed) if topic in subscribed[member]]
        numbers = sorted(partitions[topic])
        held: dict[str, list[int]] = {member: [] for member in members}
        for number in numbers:
            if (member := owner.get(TopicPartition(topic, number))) in held:
                held[member].append(number)
        members.sort(key=lambda member: (total[member], -len(held[member]), member))
        base, more = divmod(len(numbers), len(members))
        due = {member: base + (place < more) for place, member in enumerate(members)}
        kept = {member: held[member][: due[member]] for member in members}
        free = iter(sorted(set(numbers).difference(*kept.values())))
        for member in members:
            got = kept[member] + [next(free) for _ in range(due[member] - len(kept[member]))]
            total[member] += len(got)
            if got:
                found[member][topic] = sorted(got)
    return found
