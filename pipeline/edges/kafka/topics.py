"""The topics of an app: sources that must be there, and those that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.core.config.model import App, Stream
from pipeline.edges.kafka.admin import Admin, TopicInfo, TopicSpec
from pipeline.errors import KafkaStateError


def prepare(admin: Admin, app: App) -> dict[str, TopicInfo]:
    """See that the sources are there, make what is missing of the rest, check all of it. Blocks.

    Raises:
        KafkaStateError: no broker, no source topic, or a topic that is not as it has to be.
    """
    wanted = [stream.topic for stream in app.streams.values() if app.tables_of(stream)]
    sources = admin.describe(wanted)
    missing = [topic for topic in wanted if topic not in sources]
    if missing:
        raise KafkaStateError(
            f"topic {', '.join(missing)} does not exist on {app.brokers}",
            "make it, or let `streamfold send FILE STREAM` or `streamfold run FILE --embedded` make it",
        )
    return sources | admin.create(own_topics(app, sources))


def make_sources(admin: Admin, app: App, streams: Sequence[Stream] | None = None) -> dict[str, TopicInfo]:
    """Make the source topics that are missing, with the partitions that their streams say. Blocks.

    ``streams`` are those that tables read, unless others are named.
    """
    if streams is None:
        streams = [stream for stream in app.streams.values() if app.tables_of(stream)]
    there = admin.describe(stream.topic for stream in streams)
    return there | admin.create(
        TopicSpec.source(stream.topic, stream.partitions, app.replication)
        for stream in streams
        if stream.topic not in there
    )


def own_topics(app: App, sources: Mapping[str, TopicInfo]) -> Iterator[TopicSpec]:
    """What the app writes to, as it should be: changelogs, outputs, dead letters."""
    for table in app.tables.values():
        partitions = sources[table.stream.topic].partitions
        yield TopicSpec.changelog(app.changelog(table), partitions, app.replication)
        yield TopicSpec.output(app.output(table), partitions, table.emit, app.replication)
    yield TopicSpec.dead_letters(
        app.dead_letters,
        max(source.partitions for source in sources.values()),
        max(source.max_message_bytes for source in sources.values()),
        app.replication,
    )
