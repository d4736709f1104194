"""The topics of an app: sources that must be there, and those that it makes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from pipeline.core.config.model import App, Stream, Table
from pipeline.core.record_size import largest_output, largest_state
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.topic_spec import TopicInfo, TopicSpec
from pipeline.errors import KafkaStateError

_START_SECONDS = 10.0
_AGAIN_SECONDS = 0.2


def prepare(admin: Admin, app: App) -> dict[str, TopicInfo]:
    """See that the sources are there, make what is missing of the rest, check all of it. Blocks.

    Raises:
        KafkaStateError: no broker, no source topic, a topic that is not as it has to be, or one whose records may be
            too small for what a table writes.
    """
    sources = _settled(admin, read(app))
    if (trouble := missing(app, [stream.topic for stream in app.sources if stream.topic not in sources])) is not None:
        raise trouble
    topics = sources | admin.create(own_topics(app, sources))
    for trouble in (*forbidden(app, topics), *unwritable(app, topics), *too_small(app, topics)):
        raise trouble
    return topics


def read(app: App) -> list[str]:
    """The topics that tables read, but for those between hops and tables."""
    return [stream.topic for stream in app.streams.values() if app.tables_of(stream) and not stream.internal]


def _settled(admin: Admin, wanted: Sequence[str]) -> dict[str, TopicInfo]:
    """Those of the topics that are there. Brokers that have only just started know of none, or not who leads them."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        there = admin.describe(wanted)
        lacking = set(wanted) - there.keys()
        if not lacking or time.monotonic() > deadline:
            return there
        known = admin.names()
        if known and known.isdisjoint(lacking):
            return there
        time.sleep(_AGAIN_SECONDS)


def missing(app: App, sources: Sequence[str]) -> KafkaStateError | None:
    """That these source topics do not exist; None if there are none of them."""
    if not sources:
        return None
    return KafkaStateError(
        f"topic {', '.join(sources)} does not exist on {app.brokers}",
        "make it, or let `streamfold send FILE STREAM` or `streamfold run FILE --embedded` make it",
    )


def make_sources(admin: Admin, app: App, streams: Sequence[Stream] | None = None) -> dict[str, TopicInfo]:
    """Make the source topics that are missing, with the partitions that their streams say. Blocks.

    ``streams`` are those that tables read, unless others are named.
    """
    if streams is None:
        streams = app.sources
    there = admin.describe(stream.topic for stream in streams)
    return there | admin.create(
        TopicSpec.source(stream.topic, stream.partitions, app.replication)
        for stream in streams
        if stream.topic not in there
    )


def own_topics(app: App, sources: Mapping[str, TopicInfo]) -> Iterator[TopicSpec]:
    """What the app writes to, as it should be: changelogs, outputs, ways from hops to tables, dead letters."""
    for table in app.tables.values():
        partitions = _partitions(app, table, sources)
        yield TopicSpec.changelog(app.changelog(table), partitions, app.replication)
        if table.stream.internal:
            yield TopicSpec.repartition(table.stream.topic, partitions, app.replication)
        if not table.internal:
            yield TopicSpec.output(app.output(table), partitions, table.emit, app.replication)
    yield TopicSpec.dead_letters(
        app.dead_letters,
        max(source.partitions for source in sources.values()),
        max(source.max_message_bytes for source in sources.values()),
        app.replication,
    )


def _partitions(app: App, table: Table, sources: Mapping[str, TopicInfo]) -> int:
    """Of a repartitioned table as many as it says; of any other, or if it says nothing, as many as its source has.

    A source that another table has yet to make will have as many as that one.
    """
    if table.stream.internal and table.partitions:
        return table.partitions
    return max(_partitions_of(app, origin, sources) for origin in table.stream.origins)


def _partitions_of(app: App, stream: Stream, sources: Mapping[str, TopicInfo]) -> int:
    feeder = app.feeder(stream)
    if stream.topic in sources or feeder is None:
        return sources[stream.topic].partitions
    return _partitions(app, feeder, sources)


def forbidden(app: App, topics: Mapping[str, TopicInfo]) -> Iterator[KafkaStateError]:
    """What this user would have to be allowed to do with the topics, and is not."""
    needed = {stream.topic: {"READ"} for stream in app.streams.values() if app.tables_of(stream)}
    needed |= {app.changelog(table): {"READ", "WRITE"} for table in app.tables.values()}
    for topic in (*map(app.output, app.tables.values()), app.dead_letters):
        needed[topic] = needed.get(topic, set()) | {"WRITE"}
    for topic in (stream.topic for stream in app.streams.values() if stream.internal):
        needed[topic].add("DELETE")
    for topic, operations in needed.items():
        missing = operations - topics[topic].operations if topic in topics else set()
        for operation in sorted(missing):
            yield KafkaStateError(
                f"this user may not {operation.lower()} topic {topic}", f"grant {operation.title()} on {topic}"
            )


def unwritable(app: App, topics: Mapping[str, TopicInfo]) -> Iterator[KafkaStateError]:
    """The topics that ask for more replicas to agree than they have, so that no record is ever taken."""
    written = {name for table in app.tables.values() for name in (app.changelog(table), app.output(table))}
    for name in sorted(written | {app.dead_letters}):
        if name in topics and topics[name].min_insync_replicas > topics[name].replication:
            info = topics[name]
            yield KafkaStateError(
                f"topic {name} has min.insync.replicas {info.min_insync_replicas}, but replication {info.replication}",
                f"set min.insync.replicas of {name} to {max(1, info.replication - 1)}, or give it more replicas",
            )


def too_small(app: App, topics: Mapping[str, TopicInfo]) -> Iterator[KafkaStateError]:
    """The topics whose records may be smaller than what a table writes."""
    for table in app.tables.values():
        for topic, what, size in (
            (app.changelog(table), "state", largest_state(table)),
            (app.output(table), "output", largest_output(table)),
        ):
            limit = topics[topic].max_message_bytes if topic in topics else size
            if size > limit:
                yield KafkaStateError(
                    f"{what} records of table {table.name} can reach {size} bytes, max.message.bytes of {topic} is "
                    f"{limit}",
                    f"raise max.message.bytes of {topic} to {size}, or make the operators smaller",
                )
