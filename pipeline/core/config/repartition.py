"""Repartitioning as a rewriting of the app: a table whose stream is partitioned by something else becomes two.

A :class:`Hop` reads the stream and sends each event on to a topic of the table's own, by its key; the table reads that.
To those who fetch, restore and commit both are tables, so each is exactly once, and so are the two after each other.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pipeline.core.config.model import App, Stream, Table

T = TypeVar("T")


class Repartitioned(Stream):
    """What hops wrote: the events of one table by their keys, with only the fields that the table reads.

    Its records are read as :class:`~pipeline.core.formats.forwarded.ForwardedFormat` has them.
    """

    internal = True
    declared: Stream
    """The stream that the events came from, as the user knows it."""

    @property
    def origin(self) -> Stream:
        """The stream that the events came from, as the user knows it."""
        return self.declared


class Hop(Table):
    """A table that keeps nothing: it sends events on. It needs of them what the table needs that they go to."""

    internal = True


def rewritten(app: App) -> App:
    """The app as it runs: without ``repartition``, but with what that stands for. Another call changes nothing."""
    tables: list[Table] = []
    for table in app.tables.values():
        if not table.stream.repartition:
            tables.append(table)
            continue
        repartitioned = _as(
            Repartitioned,
            table.stream,
            name=f"{table.name}-repartition",
            topic=app.repartition(table),
            key=None,
            time=None,
            start="earliest",
            partitions=table.partitions or table.stream.partitions,
            repartition=False,
            declared=table.stream,
        )
        hop = _as(
            Hop,
            table,
            name=app.hop(table),
            stream=_as(Stream, table.stream, repartition=False, partitioned_by_key=True),
            output=repartitioned.topic,
            emit="every",
            on_null="dead-letter",
            metrics_keys=(),
        )
        tables += [hop, _as(Table, table, stream=repartitioned)]
    streams = {**app.streams, **{table.stream.name: table.stream for table in tables}}
    return _as(App, app, tables={table.name: table for table in tables}, streams=streams)


def _as(kind: type[T], original: object, **changes: Any) -> T:
    """The same object but for a few attributes; what it holds was checked when it was made."""
    made = object.__new__(kind)
    made.__dict__.update({**vars(original), **changes})
    return made
