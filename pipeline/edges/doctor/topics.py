"""The topics: those that are read, and those that are written or have to be made."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Set

from pipeline.core.config.model import App
from pipeline.edges.doctor.finding import Finding, ok, problem, problems, warning
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.topic_spec import TopicInfo, TopicSpec
from pipeline.edges.kafka.topics import forbidden, missing, own_topics, read, too_small, unwritable
from pipeline.errors import KafkaStateError

Topics = Mapping[str, TopicInfo]


def topics(admin: Admin, app: App) -> Generator[Finding, None, tuple[Topics, Set[str]]]:
    """Each topic; returns those that are there, and the names of those that this user may not look at."""
    there, refused = _look(admin, read(app))
    wanted = [stream.topic for stream in app.sources]
    yield from problems("source", refused.values())
    for topic in wanted:
        if topic not in there and topic not in refused and (trouble := missing(app, [topic])) is not None:
            yield problem("source", trouble)
    yield from (ok("source", f"{topic}: {_size(there[topic])}") for topic in there)
    if not there.keys() >= set(wanted):
        return there, refused.keys()  # what the others should be like depends on all of them
    specs = list(own_topics(app, there))
    own, refused = _look(admin, [spec.name for spec in specs])
    yield from problems("topic", refused.values())
    yield from _to_make(admin, [spec for spec in specs if spec.name not in own and spec.name not in refused])
    for spec in specs:
        if spec.name in own:
            yield from _compared(spec, own[spec.name])
    there |= own
    for check in (forbidden, unwritable, too_small):
        yield from problems("topic", check(app, there))
    return there, refused.keys()


def _look(admin: Admin, names: Iterable[str]) -> tuple[dict[str, TopicInfo], dict[str, KafkaStateError]]:
    """Those that are there, and those that may not be seen: one by one, for one refusal would hide the others."""
    there: dict[str, TopicInfo] = {}
    refused: dict[str, KafkaStateError] = {}
    for name in names:
        try:
            there |= admin.describe([name])
        except KafkaStateError as error:
            refused[name] = error
    return there, refused


def _to_make(admin: Admin, specs: list[TopicSpec]) -> Iterator[Finding]:
    refusals = admin.refusals(specs)
    yield from problems("topic", refusals)
    if specs and not refusals:
        yield ok("topic", f"{', '.join(spec.name for spec in specs)}: will be made by the first run")


def _compared(spec: TopicSpec, info: TopicInfo) -> Iterator[Finding]:
    trouble = spec.mismatch(info)
    if trouble is not None:
        yield problem("topic", trouble)
        return
    doubts = list(_doubts(spec, info))
    yield from doubts
    if not doubts:
        yield ok("topic", f"{spec.name}: {_size(info)}, {info.cleanup_policy}")


def _doubts(spec: TopicSpec, info: TopicInfo) -> Iterator[Finding]:
    """In what a topic differs from the one that we would make, where that is no reason to refuse it."""
    policy = spec.configs["cleanup.policy"]
    if info.cleanup_policy != policy:
        yield warning(
            "topic",
            f"{spec.name} has cleanup.policy {info.cleanup_policy}, we would make it {policy}",
            f"set it to {policy}, unless that is what you want",
        )
    limit = int(spec.configs.get("max.message.bytes", 0))
    if info.max_message_bytes < limit:
        yield warning(
            "topic",
            f"{spec.name} takes records of {info.max_message_bytes} bytes: a larger bad event is cut",
            f"set its max.message.bytes to {limit}",
        )
    if info.replication < spec.replication:
        yield warning(
            "topic",
            f"{spec.name} has {info.replication} replicas, replication in [app] is {spec.replication}",
            f"reassign {spec.name} to {spec.replication} brokers, or lower replication",
        )
    wanted = int(spec.configs.get("min.insync.replicas", 1))
    if info.min_insync_replicas < wanted <= info.replication:
        yield warning(
            "topic",
            f"{spec.name} has min.insync.replicas {info.min_insync_replicas}: a commit can be lost with one broker",
            f"set its min.insync.replicas to {wanted}",
        )


def _size(info: TopicInfo) -> str:
    replicas = f"{info.replication} replica{'s' if info.replication > 1 else ''}"
    return f"{info.partitions} partition{'s' if info.partitions > 1 else ''}, {replicas}"
