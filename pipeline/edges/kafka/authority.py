"""Whether state, source, committed offset and configuration belong together: what a restore refuses, and why.

The meta record is the authority, for it was written in the same transaction as the state. Each check yields what is
wrong, so that a worker ends with the first of it, and an examination can tell all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from pipeline.core.changelog import Meta
from pipeline.core.table import TablePartition
from pipeline.edges.kafka.admin import Bounds
from pipeline.edges.kafka.commit import OWN
from pipeline.edges.kafka.topic_spec import TopicInfo
from pipeline.errors import KafkaStateError

Troubles = Iterator[KafkaStateError]

_RESET = "`streamfold reset FILE` makes the state anew from the first event"


def grown(tp: TopicPartition, tables: Mapping[str, TablePartition], topics: Mapping[str, TopicInfo]) -> Troubles:
    """A source partition that a changelog or an output has no partition for; a hop's events go to any partition."""
    for table in tables.values():
        for name in (table.changelog_topic, *([] if table.table.internal else [table.output_topic])):
            info = topics.get(name)
            if info is not None and tp.partition >= info.partitions:
                yield KafkaStateError(
                    f"{tp.topic} has a partition {tp.partition}, but {name} has only {info.partitions}: "
                    "the source has grown",
                    "keys may have moved between partitions: `streamfold reset FILE` makes the state anew",
                )


def strange(
    tp: TopicPartition,
    tables: Mapping[str, TablePartition],
    topics: Mapping[str, TopicInfo],
    transactional_id: str,
) -> Troubles:
    """Changelogs, once read, that are not those of this source, these operators and this app, or are not whole."""
    for name, table in tables.items():
        meta, trouble = table.changelog.meta, table.changelog.trouble
        if meta is None:
            if trouble is not None:
                yield trouble
            continue
        info, source = topics[table.changelog_topic], topics[tp.topic]
        if meta.fingerprint != table.fingerprint:
            # What its records look like is then no news.
            yield KafkaStateError(f"the operators of table {name} changed since its state was written", _RESET)
            continue
        if trouble is not None:
            yield trouble
        if meta.source_id != source.topic_id:
            yield KafkaStateError(f"topic {tp.topic} was deleted and made again since table {name} read it", _RESET)
        if meta.changelog_id != info.topic_id:
            yield KafkaStateError(f"{info.name} was deleted and made again: state is lost", _RESET)
        if meta.transactional_id != transactional_id:
            yield KafkaStateError(
                f"the state of table {name} was written under the transactional id {meta.transactional_id}",
                "give the app the name it had, or " + _RESET,
            )
        if meta.keys != table.state.live:
            yield KafkaStateError(
                f"{info.name}-{tp.partition} should hold {meta.keys} keys, not {table.state.live}", _RESET
            )


def catching_up(metas: Mapping[str, Meta | None], commit: OffsetAndMetadata | None) -> bool:
    """Whether the group's offset is one that we committed before the state's, so that nobody has moved it.

    Its coordinator has not caught up: older brokers say that a transaction is finished a moment before its offset can
    be read, and one that was killed under load has given offsets of long ago for minutes.
    """
    written = {None if meta is None else meta.next_offset for meta in metas.values()}
    if commit is None or commit.metadata != OWN or len(written) != 1:
        return False
    (position,) = written
    return position is not None and commit.offset < position


def contradictions(
    tp: TopicPartition, metas: Mapping[str, Meta | None], committed: int | None, source: Bounds
) -> Troubles:
    """Meta records, the committed offset and what the source still holds that do not agree on where to go on."""
    written = sorted({meta.next_offset for meta in metas.values() if meta is not None})
    lacking = [name for name, meta in metas.items() if meta is None]
    if lacking and (written or committed is not None):
        yield KafkaStateError(
            f"table {', '.join(lacking)} has no state, but {tp.topic}-{tp.partition} is folded up to "
            f"{committed if committed is not None else written[-1]}",
            "a table added later, or a lost changelog: `streamfold reset FILE` folds all from the first event",
        )
    if len(written) > 1:
        yield KafkaStateError(
            f"the changelogs of {tp.topic}-{tp.partition} speak of different offsets: {written}",
            "`streamfold reset FILE` makes the state anew",
        )
    if len(written) != 1:
        return
    (position,) = written
    if committed not in (None, position):
        yield KafkaStateError(
            f"{tp.topic}-{tp.partition}: the state ends at {position}, the group is at {committed}",
            "someone moved the group's offsets: put them back, or `streamfold reset FILE`",
        )
    if not source.start <= position <= source.end:
        yield KafkaStateError(
            f"{tp.topic}-{tp.partition} goes on at {position}, but the topic holds only {source.start} to {source.end}",
            "retention passed the worker, or the topic was made anew: `streamfold reset FILE` folds what there is",
        )
