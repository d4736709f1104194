"""Repartitioning as a rewriting of the app: a table whose stream is partitioned by something else becomes two.

A :class:`Hop` reads the stream and sends each event on to a topic of the table's own, by its key; the table reads that.
To those who fetch, restore and commit both are tables, so each is exactly once, and so are the two after each other.

Where a table's operators merge and only each key's latest result is published, the hop folds the events of a commit
itself and sends the partial states on: fewer records, and the work on a busy key is shared by all who read the stream.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

from operators.merging import Merging
from pipeline.core.config.model import App, Stream, Table

T = TypeVar("T")


class Between(Stream):
    """What hops wrote: the events of one table by their keys, with only the fields that the table reads.

    Its records are read as :class:`~pipeline.core.formats.forwarded.ForwardedFormat` has them.
    """

    internal = True
    declared: Stream

    @property
    def origin(self) -> Stream:
        """The stream that the events came from, as the user knows it."""
        return self.declared


class Rekeyed(Table):
    """A repartitioned table, which reads what hops wrote."""

    declared: Table

    @property
    def origin(self) -> Table:
        """The table as the user knows it."""
        return self.declared


class Hop(Table):
    """A table that keeps nothing: it sends events on to another one, ``target``, or what it folded of them."""

    internal = True
    target: Rekeyed


def rewritten(app: App) -> App:
    """The app as it runs: without ``repartition``, but with what that stands for. Another call changes nothing."""
    tables: list[Table] = []
    for table in app.tables.values():
        tables += [*_rewritten(app, table)] if table.stream.repartition else [table]
    streams = {**app.streams, **{table.stream.name: table.stream for table in tables}}
    return _as(App, app, tables={table.name: table for table in tables}, streams=streams)


def _rewritten(app: App, table: Table) -> tuple[Hop, Rekeyed]:
    between = _as(
        Between,
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
    rekeyed = _as(Rekeyed, table, stream=between, declared=table)
    if table.two_stage:
        merging = {
            name: Merging(
                inner=operator, fields=operator.layout(table.shapes(name)).fields, name=name, publish=operator.publish
            )
            for name, operator in table.operators.items()
        }
        vectors = {field: width for operator in merging.values() for field, width in operator.widths().items()}
        partial = _as(Between, between, vectors=vectors, declared=table.stream)
        rekeyed = _as(Rekeyed, rekeyed, stream=partial, operators=merging, missing="skip", declared=table)
    hop = _as(
        Hop,
        table,
        name=app.hop(table),
        stream=_as(Stream, table.stream, repartition=False, partitioned_by_key=True),
        output=between.topic,
        on_null="dead-letter",
        metrics_keys=(),
        ttl=None,
        max_keys=None,
        on_full="stop",
        target=rekeyed,
    )
    return hop, rekeyed


def _as(kind: type[T], original: object, **changes: Any) -> T:
    """The same object but for a few attributes; what it holds was checked when it was made."""
    held = {
        name: value
        for name, value in vars(original).items()
        if not isinstance(getattr(type(original), name, None), cached_property)
    }
    made = object.__new__(kind)
    made.__dict__.update({**held, **changes})
    return made
