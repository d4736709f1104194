# ruff: noqa: RUF009 - the defaults are descriptors, one for the class
"""The objects of a configuration: an :class:`App` of :class:`Table` s, each kept from a :class:`Stream`.

They are what a TOML file becomes and what Python code writes; every check lives here, in the constructors, which raise
:class:`~pipeline.core.config.problem.ConfigError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal

from operators.duration import seconds
from operators.operator import Operator, Shape
from pipeline.core.config import kinds
from pipeline.core.config.checks import check_app, check_dedupe, check_stream, check_table, one_or_several
from pipeline.core.config.choice import Choice, read_choice
from pipeline.core.config.fingerprint import fingerprint
from pipeline.core.config.option import Option
from pipeline.core.config.security import KafkaSecurity
from pipeline.core.secret import Secret

Format = Literal["json", "msgpack", "float64", "float32"]
TimeUnit = Literal["s", "ms", "us", "ns"]
Start = Literal["earliest", "latest"]
Emit = Literal["every", "commit"]
Missing = Literal["dead-letter", "skip"]
OnError = Literal["dead-letter", "stop"]
OnNull = Literal["dead-letter", "delete"]
OnFull = Literal["stop", "evict"]

_MOST_EVENTS = 100_000
_WORTH_EVENTS = 10
_HEAD_NUMBERS = 4
"""What an event that is sent on has besides its fields."""


@dataclass(frozen=True)
class Stream:
    """An input topic with its decoding."""

    name: Option[str, str] = kinds.name("The stream's name.")
    topic: Option[str, str] = kinds.topic("The topic that is read.")
    format: Option[Format, Format] = kinds.choice(
        Format, "json", "How values are encoded; float64 and float32 are raw little-endian numbers."
    )
    key: Option[str | Sequence[str] | None, str | tuple[str, ...] | None] = kinds.optional(
        kinds.text_or_texts(
            "a field's name, or a list of some",
            "The field of the value that is the entity's key, or the fields whose values are joined to it. "
            "Left out: the record's key.",
        )
    )
    time: Option[str | None, str | None] = kinds.optional(
        kinds.text("a field's name", "The field with the event time (Unix time, RFC 3339). Left out: the record's.")
    )
    time_unit: Option[TimeUnit, TimeUnit] = kinds.choice(TimeUnit, "s", "The unit of a numeric event time.")
    vectors: Option[Mapping[str, int], Mapping[str, int]] = kinds.widths(
        "Fields that are arrays of numbers, and their lengths. Every other field that an operator reads is one number."
    )
    fields: Option[Sequence[str], tuple[str, ...]] = kinds.texts(
        "a list of different fields' names", "For float64 and float32: the names of a record's columns, in order."
    )
    select: Option[Mapping[str, str], Mapping[str, str]] = kinds.expressions(
        "Names for what is computed of an event's fields; operators and the key take them like fields."
    )
    where: Option[str | None, str | None] = kinds.optional(
        kinds.text(
            "a condition, like \"score > 0 and kind == 'final'\"", "Which events are folded. Left out: all of them."
        )
    )
    start: Option[Start, Start] = kinds.choice(Start, "earliest", "Where a new consumer group begins.")
    partitions: Option[int, int] = kinds.count(
        4, 10_000, "Partitions of the topic, when `send`, `demo` or `run --embedded` has to make it."
    )
    partitioned_by_key: Option[bool, bool] = kinds.flag(
        "The topic is partitioned by the key field, even where a record's own key is another one, or none."
    )
    repartition: Option[bool, bool] = kinds.flag(
        "Events are sent on by their key, through a topic of each table: the stream's topic need not be partitioned so."
    )

    def __post_init__(self) -> None:
        check_stream(self)

    internal: ClassVar[bool] = False
    """Whether it is none of the user's, but a way from one of them to a table."""

    @property
    def origins(self) -> tuple[Stream, ...]:
        """The streams of the user's that its events come from."""
        return (self,)

    @property
    def binary(self) -> bool:
        """Whether a record is a row of raw numbers."""
        return self.format in ("float64", "float32")

    @property
    def table_keys(self) -> Mapping[str, str | tuple[str, ...]]:
        """The keys of tables that have others than the stream's, by the names of what sends their events on."""
        return {}

    @property
    def keyless(self) -> bool:
        """Whether nobody asks for an event's own key."""
        return False

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields and selected names that the key is made of; none if it is the record's own."""
        return () if self.key is None else (self.key,) if isinstance(self.key, str) else self.key

    @property
    def key_parts(self) -> tuple[str, ...]:
        """The parts of a key that is joined of parts; none of another."""
        return self.key if isinstance(self.key, tuple) else ()

    @property
    def key_told(self) -> str:
        """What the key is made of, in words."""
        fields = ", ".join(map(repr, self.key_fields))
        return f"the fields {fields} joined by '/'" if self.key_parts else f"the field {fields}"

    @cached_property
    def choice(self) -> Choice:
        """The expressions of ``select`` and ``where``, compiled."""
        return read_choice(self)[0]


@dataclass(frozen=True)
class Dedupe:
    """Events that come again are folded once: an event is a duplicate if one of the same key and id was folded lately.

    "Lately" is among the ``reach`` records of its partition before it and, if ``window`` is a duration, at most
    ``seconds`` of event time away.
    """

    field: Option[str, str] = kinds.text(
        "a field's name", "The field of the value with the event's id: text or integer."
    )
    window: Option[int | str, int | str] = kinds.look_back(
        "How far back ids are remembered: the last records of a partition, by their number or by event time."
    )
    max_events: Option[int | None, int | None] = kinds.optional(
        kinds.count(
            _MOST_EVENTS,
            10_000_000,
            f"With a duration: the most of a partition's last records that are looked back on. [{_MOST_EVENTS}]",
        )
    )

    def __post_init__(self) -> None:
        check_dedupe(self)

    @property
    def reach(self) -> int:
        """How many of a partition's last records are looked back on."""
        return self.window if isinstance(self.window, int) else self.max_events or _MOST_EVENTS

    @property
    def seconds(self) -> float | None:
        """How far apart the event times of an event and its duplicate may be; None: any time."""
        return seconds(self.window) if isinstance(self.window, str) else None


@dataclass(frozen=True)
class Table:
    """Keyed state, kept from a stream by operators. An operator's name is its field in the output record."""

    name: Option[str, str] = kinds.name("The table's name.")
    stream: Option[Stream | None, Stream] = kinds.either(kinds.instance(Stream, "The stream that is folded."))
    operators: Option[Mapping[str, Operator], Mapping[str, Operator]] = kinds.operators(
        "The operators, by the names that their results have in the output record."
    )
    emit: Option[Emit, Emit] = kinds.choice(
        Emit, "every", "What is published: every event's result, or each touched key's latest, once a commit."
    )
    output: Option[str | None, str | None] = kinds.optional(
        kinds.topic("The topic that results are published to. Left out: <app>-<table>.")
    )
    missing: Option[Missing, Missing] = kinds.choice(
        Missing,
        "dead-letter",
        "What becomes of an event that lacks a field: a dead letter, or skipped by its operators.",
    )
    on_error: Option[OnError, OnError] = kinds.choice(
        OnError, "dead-letter", "What becomes of an event that can't be folded: a dead letter, or the worker stops."
    )
    on_null: Option[OnNull, OnNull] = kinds.choice(
        OnNull, "dead-letter", "What becomes of a record with a null value: a dead letter, or its key is dropped."
    )
    metrics_keys: Option[Sequence[str], tuple[str, ...]] = kinds.texts(
        "a list of different keys", "The keys whose values are exposed as metrics."
    )
    dedupe: Option[Dedupe | None, Dedupe | None] = kinds.optional(
        kinds.instance(Dedupe, "Events that came before, by their ids, are neither folded nor published.")
    )
    ttl: Option[str | float | None, float | None] = kinds.age(
        "A key is dropped when no event of it came for so long, in event time. Left out: never."
    )
    max_keys: Option[int | None, int | None] = kinds.optional(
        kinds.count(1, 1_000_000_000, "How many keys the table may have in each partition. Left out: any number.")
    )
    on_full: Option[OnFull, OnFull] = kinds.choice(
        OnFull, "stop", "What a key beyond max_keys does: the worker stops, or the key whose last event is oldest goes."
    )
    partitions: Option[int | None, int | None] = kinds.optional(
        kinds.count(
            4, 10_000, "With repartition: the partitions of the table. Left out: as many as the stream's topic has."
        )
    )
    key: Option[str | Sequence[str] | None, str | tuple[str, ...] | None] = kinds.optional(
        kinds.text_or_texts(
            "a field's name, or a list of some",
            "With repartition: the field, or the fields, that the table is kept by. Left out: the stream's key.",
        )
    )
    streams: Option[Sequence[Stream], tuple[Stream, ...]] = kinds.instances(
        Stream, "Several streams that are folded into one table, in place of `stream`; all of them repartitioned."
    )

    def __post_init__(self) -> None:
        self.__dict__["stream"], self.__dict__["streams"] = one_or_several(self.stream, self.streams)
        check_table(self)

    internal: ClassVar[bool] = False
    """Whether it is none of the user's, but a way to one of them."""

    @property
    def origin(self) -> Table:
        """The table as the user declared it."""
        return self

    @property
    def key_parts(self) -> tuple[str, ...]:
        """The parts of a key that is joined of parts; none of another."""
        key = self.stream.key if self.key is None else self.key
        return key if isinstance(key, tuple) else ()

    @property
    def two_stage(self) -> bool:
        """Whether events are folded before they are repartitioned, a commit's together, and only states are sent on.

        So it is where any order of merging gives the same state, nothing is said or asked of single events, and a
        state is no more to send than ten events are.
        """
        each = (self.dedupe, self.ttl, self.max_keys)
        if not self.stream.repartition or self.emit == "every" or each != (None, None, None):
            return False
        layouts = [operator.layout(self.shapes(name)) for name, operator in self.operators.items()]
        state = sum(prod(field.shape) for layout in layouts for field in layout.fields)
        event = _HEAD_NUMBERS + sum(map(prod, self.inputs.values()))
        return (
            state <= _WORTH_EVENTS * event
            and not any(layout.rings for layout in layouts)
            and all(operator.algebra in ("group", "monoid") for operator in self.operators.values())
        )

    @cached_property
    def fields_of(self) -> Mapping[str, tuple[str, ...]]:
        """By operator, the fields of an event that it reads, each once."""
        return {name: tuple(dict.fromkeys(_fields(operator))) for name, operator in self.operators.items()}

    @cached_property
    def inputs(self) -> Mapping[str, Shape]:
        """Every field that an operator reads, with its shape: ``()`` for a number, ``(d,)`` for a vector."""
        fields = (field for fields in self.fields_of.values() for field in fields)
        return {field: self._shape(field) for field in fields}

    def shapes(self, operator: str) -> Mapping[str, Shape]:
        """By role, the shape of one event's input to an operator: a list of n scalar fields has ``(n,)``."""
        inputs = self.operators[operator].inputs()
        return {role: self._shape(field) if isinstance(field, str) else (len(field),) for role, field in inputs.items()}

    def _shape(self, field: str) -> Shape:
        width = self.stream.vectors.get(field)
        return () if width is None else (width,)


@dataclass(frozen=True)
class App:
    """A pipeline: its tables, and how it runs. Its name is the consumer group and begins the names of its topics."""

    name: Option[str, str] = kinds.name("The consumer group; the prefix of changelogs, outputs and dead letters.")
    tables: Option[Iterable[Table] | Mapping[str, Table], Mapping[str, Table]] = kinds.named(Table, "The tables.")
    streams: Option[Iterable[Stream] | Mapping[str, Stream], Mapping[str, Stream]] = kinds.named(
        Stream, "The streams; those that tables read need not be named again.", ()
    )
    brokers: Option[str, str] = kinds.addresses("localhost:9092", "The brokers to begin with: host:port, by commas.")
    commit_interval: Option[str | float, float] = kinds.duration(
        "100ms", "Time between the commits of a busy partition: one transaction each."
    )
    http: Option[str, str] = kinds.address(
        "127.0.0.1:6066", "Where HTTP is served; worker i of `--workers` on port + i."
    )
    http_token: Option[str | None, Secret | None] = kinds.optional(
        kinds.token("What whoever asks over HTTP has to show (Authorization: Bearer ...); /livez and /readyz are open.")
    )
    replication: Option[int, int] = kinds.count(1, 100, "Replicas of each topic that is made.")
    session_timeout: Option[str | float, float] = kinds.duration(
        "10s", "A worker that was silent for so long is replaced."
    )
    start_timeout: Option[str | float, float] = kinds.duration("30s", "How long a start waits for a broker.")
    broker_timeout: Option[str | float, float] = kinds.duration("120s", "How long a running worker waits for a broker.")
    kafka: Option[KafkaSecurity | None, KafkaSecurity | None] = kinds.optional(
        kinds.instance(KafkaSecurity, "TLS and login of the brokers.")
    )

    def __post_init__(self) -> None:
        declared = self.streams
        read = {stream.name: stream for table in self.tables.values() for stream in table.streams}
        self.__dict__["streams"] = {**declared, **read}
        check_app(self, declared)

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.name

    @property
    def dead_letters(self) -> str:
        """The topic of events that could not be folded."""
        return f"{self.name}-dead-letters"

    def output(self, table: Table) -> str:
        """The topic that a table's results are published to."""
        return table.output or f"{self.name}-{table.name}"

    def changelog(self, table: Table) -> str:
        """The topic that a table's state is logged to."""
        return f"{self.name}-{table.name}-changelog"

    def repartition(self, table: Table) -> str:
        """The topic of a table's events by their keys, where its stream is repartitioned."""
        return f"{self.name}-{table.name}-repartition"

    def hop(self, table: Table, stream: Stream) -> str:
        """What sends a stream's events there goes by this name, in metrics and in the name of its changelog."""
        return f"{table.name}-{stream.name}-repartition"

    @property
    def sources(self) -> tuple[Stream, ...]:
        """The streams that tables read and others write to."""
        streams = (stream for stream in self.streams.values() if self.tables_of(stream))
        return tuple(stream for stream in streams if not stream.internal and self.feeder(stream) is None)

    def feeder(self, stream: Stream) -> Table | None:
        """The table whose output a stream is; None if others write to its topic."""
        return next((table for table in self.tables.values() if self.output(table) == stream.topic), None)

    def tables_of(self, stream: Stream) -> tuple[Table, ...]:
        """The tables that are kept from a stream."""
        return tuple(table for table in self.tables.values() if stream.name in (each.name for each in table.streams))

    def fields_read(self, stream: Stream) -> Mapping[str, Shape]:
        """Every field of a stream that some table's operators read, with its shape."""
        return {field: shape for table in self.tables_of(stream) for field, shape in table.inputs.items()}

    def ids_read(self, stream: Stream) -> frozenset[str]:
        """The fields of a stream by which some table knows duplicates."""
        return frozenset(table.dedupe.field for table in self.tables_of(stream) if table.dedupe is not None)

    def fingerprint(self, table: Table) -> str:
        """Names the meaning of a table's state: 16 hexadecimal digits that change when older state can't be read on."""
        return fingerprint(table.origin)


def _fields(operator: Operator) -> Iterable[str]:
    for field in operator.inputs().values():
        yield from (field,) if isinstance(field, str) else field
