"""The group and what it left: members, committed offsets, and the state in the changelogs."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Mapping, Set
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from pipeline.core.config.model import App, Stream
from pipeline.core.partition import Partition
from pipeline.core.table import TablePartition
from pipeline.edges.doctor.finding import Finding, ok, problem, problems
from pipeline.edges.doctor.patience import patiently
from pipeline.edges.kafka.admin import Admin, Isolation
from pipeline.edges.kafka.authority import Troubles, contradictions, grown, strange
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import transactional_id
from pipeline.edges.kafka.errors import Unreachable
from pipeline.edges.kafka.restore import read_log
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.edges.web.address import Address
from pipeline.errors import KafkaStateError

_ISOLATIONS: tuple[Isolation, Isolation] = ("read_committed", "read_uncommitted")


def group(admin: Admin, app: App) -> Generator[Finding, None, bool]:
    """The consumer group; returns whether the state at rest can be looked at."""
    denied = KafkaStateError(f"this user may not read group {app.group}", f"grant Read on the group {app.group}")
    try:
        described = patiently(lambda: admin.ask(lambda client: client.describe_groups([app.group])[app.group]))
    except KafkaStateError as error:
        yield problem("group", error if isinstance(error, Unreachable) else denied)
        return False
    kinds = {found["group_id"]: found.get("group_type") for found in admin.ask(lambda client: client.list_groups())}
    trouble = other_group(app, described, kinds.get(app.group))
    if trouble is not None:
        yield problem("group", trouble)
        return False
    # Of a group that there is not yet, the broker does not say what may be done with it.
    if "READ" not in (described["authorized_operations"] or ("READ",)):
        yield problem("group", denied)
    members = [f"{member['client_id']} at {member['client_host']}" for member in described["members"]]
    if members:
        yield ok("group", f"{app.group} is at work: {', '.join(members)}; its workers checked the state as they began")
        return False
    yield ok("group", f"{app.group} has no member")
    return True


def other_group(app: App, described: Mapping[str, Any], kind: str | None) -> KafkaStateError | None:
    """That the group is of something else than workers of ours; None if it is not."""
    mend = "give the app another name, or that consumer another group"
    if kind not in (None, "classic"):
        return KafkaStateError(f"group {app.group} is one of another protocol: {kind}", mend)
    if described["protocol_type"] not in ("", "consumer"):
        return KafkaStateError(f"group {app.group} is one of another kind: {described['protocol_type']}", mend)
    strangers = [m["client_id"] for m in described["members"] if Address.of_client_id(m["client_id"]) is None]
    if strangers:
        return KafkaStateError(f"group {app.group} has members that are no workers: {', '.join(strangers)}", mend)
    return None


def state(admin: Admin, app: App, topics: Mapping[str, TopicInfo], unseen: Set[str]) -> Iterator[Finding]:
    """Everything that a restore would check, of every partition, with all changelogs read from end to end.

    ``unseen`` are topics of which nobody can tell whether they are there.
    """
    committed = patiently(lambda: admin.committed(app.group))
    targets = dict.fromkeys(map(app.output, app.tables.values()), 1)
    targets |= {name: info.partitions for name, info in topics.items()}
    rest = _Rest(admin, ClientSettings.of(app), topics, committed)
    for stream in app.streams.values():
        tables = app.tables_of(stream)
        if not tables or stream.topic not in topics or not unseen.isdisjoint(map(app.changelog, tables)):
            continue
        keys, sound = 0, True
        for number in range(topics[stream.topic].partitions):
            partition = Partition(app, stream, number, topics[stream.topic].partitions, targets)
            troubles = list(rest.troubles(TopicPartition(stream.topic, number), partition))
            yield from problems("state", troubles)
            sound = sound and not troubles
            keys += sum(table.state.live for table in partition.tables.values())
        if sound:
            yield ok("state", f"{stream.topic}: {_summary(stream, committed, keys)}")


@dataclass(frozen=True)
class _Rest:
    """What lies on the brokers while no worker runs."""

    admin: Admin
    settings: ClientSettings
    topics: Mapping[str, TopicInfo]
    committed: Mapping[TopicPartition, int]

    def troubles(self, tp: TopicPartition, partition: Partition) -> Troubles:
        """Those of one partition with all its tables."""
        if any(grown(tp, partition.tables, self.topics)):
            return  # told with the topics
        try:
            there = [table for table in partition.tables.values() if table.changelog_topic in self.topics]
            for table in there:
                yield from self._read(TopicPartition(table.changelog_topic, tp.partition), table)
        except KafkaStateError as error:
            yield error
            return
        yield from strange(tp, partition.tables, self.topics, transactional_id(partition.app.group, tp))
        metas = {name: table.changelog.meta for name, table in partition.tables.items()}
        yield from contradictions(tp, metas, self.committed.get(tp), self.admin.bounds(tp))

    def _read(self, tp: TopicPartition, table: TablePartition) -> Troubles:
        """Read a changelog as a restore does, as far as it is stable."""
        stable, high = (self.admin.bounds(tp, isolation) for isolation in _ISOLATIONS)
        if stable.end < high.end:
            yield KafkaStateError(
                f"an open transaction holds up {tp.topic}-{tp.partition} (stable to {stable.end} of {high.end})",
                "a worker ends its own as it starts; `streamfold doctor FILE --abort-hanging` ends somebody else's",
            )

        async def follow() -> None:
            async with aclosing(read_log(self.settings, tp, stable.start, stable.end)) as batches:
                async for batch in batches:
                    table.changelog.apply(batch.keys, batch.values)
            table.changelog.finish()

        asyncio.run(follow())


def _summary(stream: Stream, committed: Mapping[TopicPartition, int], keys: int) -> str:
    folded = [tp for tp in committed if tp.topic == stream.topic]
    if not folded and not keys:
        return "nothing is folded yet"
    return f"{keys:,} keys, whole, and of these operators"
