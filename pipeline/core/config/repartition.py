"""Repartitioning as a rewriting of the app: a table whose stream is partitioned by something else becomes two.

A :class:`Hop` reads the stream and sends each event on to a topic of the table's own, by its key; the table reads that.
To those who fetch, restore and commit both are tables, so each is exactly once, and so are the two after each other.

Where a table's operators merge and only each key's latest result is published, the hop folds the events of a commit
itself and sends the partial states on: fewer records, and the work on a busy key is shared by all who read the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

from operators.merging import Merging
from pipeline.core.config.model import App, Stream, Table

T = TypeVar("T")


class Sent(Stream):
    """A stream whose events are sent on, to some tables by other keys than its own."""

    keys: Mapping[str, str | tuple[str, ...]]
    unkeyed: bool

    @property
    def table_keys(self) -> Mapping[str, str | tuple[str, ...]]:
        """The keys of tables that have others than the stream's, by the names of their hops."""
        return self.keys

    @property
    def keyless(self) -> bool:
        """Whether all tables have keys of their own."""
        return self.unkeyed


class Between(Stream):
    """What hops wrote: the events of one table by their keys, with only the fields that the table reads.

    Its records are read as :class:`~pipeline.core.formats.forwarded.ForwardedFormat` has them.
    """

    internal = True
    declared: tuple[Stream, ...]

    @property
    def origins(self) -> tuple[Stream, ...]:
        """The streams of the user's that its events come from."""
        return self.declared


class Rekeyed(Table):
    """A repartitioned table, which reads what hops wrote."""

    declared: Table

    @property
    def origin(self) -> Table:
        """The table as the user knows it."""
        return self.declared


class Hop(Table):
    """A table that keeps nothing: it sends events of a stream on to another one, or what it folded of them.

    The stream is that of this ``number`` among those of the ``target``.
    """

    internal = True
    target: Rekeyed
    number: int


def rewritten(app: App) -> App:
    """The app as it runs: without ``repartition``, but with what that stands for. Another call changes nothing."""
    tables: list[Table] = []
    sent = {stream.name: _sent(app, stream) for stream in app.streams.values() if stream.repartition}
    for table in app.tables.values():
        tables += [*_rewritten(app, table, sent)] if table.stream.repartition else [table]
    streams = {**app.streams, **{stream.name: stream for table in tables for stream in table.streams}}
    return _as(App, app, tables={table.name: table for table in tables}, streams=streams)


def _sent(app: App, stream: Stream) -> Sent:
    tables = app.tables_of(stream)
    keys = {app.hop(table, stream): table.key for table in tables if table.key is not None}
    unkeyed = len(keys) == len(tables)
    own = {"key": None} if unkeyed else {}
    return _as(Sent, stream, repartition=False, partitioned_by_key=True, keys=keys, unkeyed=unkeyed, **own)


def _rewritten(app: App, table: Table, sent: Mapping[str, Sent]) -> Iterator[Table]:
    between = _as(
        Between,
        table.stream,
        name=f"{table.name}-repartition",
        topic=app.repartition(table),
        key=None,
        time=None,
        select={},
        where=None,
        start="earliest",
        repartition=False,
        declared=table.streams,
    )
    changes: dict[str, Any] = {"stream": between, "declared": table}
    if table.two_stage:
        merging = _merging(table)
        vectors = {field: width for operator in merging.values() for field, width in operator.widths().items()}
        changes |= {"stream": _as(Between, between, vectors=vectors), "operators": merging, "missing": "skip"}
    rekeyed = _as(Rekeyed, table, streams=(changes["stream"],), **changes)
    for number, stream in enumerate(table.streams):
        source = sent[stream.name]
        yield _as(
            Hop,
            table,
            name=app.hop(table, stream),
            stream=source,
            streams=(source,),
            output=between.topic,
            on_null="dead-letter",
            metrics_keys=(),
            ttl=None,
            max_keys=None,
            on_full="stop",
            target=rekeyed,
            number=number,
        )
    yield rekeyed


def _merging(table: Table) -> dict[str, Merging]:
    """Operators that merge what those of a table leave."""
    return {
        name: Merging(
            inner=operator, fields=operator.layout(table.shapes(name)).fields, name=name, publish=operator.publish
        )
        for name, operator in table.operators.items()
    }


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
