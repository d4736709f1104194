"""The checks that look at several options at once. Each raises ConfigError with all that it found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from operators import OperatorError
from operators.operator import Operator
from pipeline.core.config.choice import read_choice
from pipeline.core.config.kinds import topic_name
from pipeline.core.config.problem import ConfigError, Path, Problem, alternatives, mismatch, shown, unknown
from pipeline.core.expression import Kind

if TYPE_CHECKING:
    from pipeline.core.config.model import App, Dedupe, Stream, Table
    from pipeline.core.config.security import KafkaSecurity

RESERVED = ("key", "time", "partition", "offset")
"""Fields of every output record; the names of operators come after them."""

_ESCAPED = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')


def refuse(problems: Iterable[Problem]) -> None:
    """Raise ConfigError if there is a problem."""
    found = tuple(problems)
    if found:
        raise ConfigError(found)


def check_stream(stream: Stream) -> None:
    """A stream's format, and the fields that it names."""
    refuse(_stream(stream))


def _stream(stream: Stream) -> Iterator[Problem]:
    for path, name in _named_fields(stream):
        yield from _name(path, name)
    for place, name in enumerate(stream.fields):
        yield from _name(("fields", place), name)
    for name in stream.vectors:
        yield from _name(("vectors", name), name)
    if stream.binary:
        yield from _binary(stream)
    elif stream.fields:
        yield Problem(("fields",), mismatch(list(stream.fields), f"none: {stream.format} records name their fields"))
    for path, field in _named_fields(stream):
        if field in stream.vectors:
            yield Problem(path, mismatch(field, "a field that isn't a vector"))
    if stream.repartition and stream.partitioned_by_key:
        yield Problem(("repartition",), mismatch(True, "false: partitioned_by_key says that it isn't needed"))
    if stream.time in stream.key_fields:
        yield Problem(("time",), mismatch(stream.time, "another field than the key"))
    for place, name in enumerate(stream.key_parts):
        if name in RESERVED:
            yield Problem(("key", place), _taken(name))
    yield from _selected(stream)


def _named_fields(stream: Stream) -> Iterator[tuple[Path, str]]:
    """The fields that are key and time, with the paths to them."""
    for place, name in enumerate(stream.key_fields):
        yield ("key", place) if stream.key_parts else ("key",), name
    if stream.time is not None:
        yield ("time",), stream.time


def _selected(stream: Stream) -> Iterator[Problem]:
    """The names of ``select``, and all expressions."""
    for name in stream.select:
        path = ("select", name)
        yield from _name(path, name)
        for what, names in (("a vector", stream.vectors), ("its time", [stream.time]), ("a column", stream.fields)):
            if name in names:
                yield Problem(path, f"found the name {shown(name)}, expected a new one: the stream has it as {what}")
    yield from read_choice(stream)[1]


def _taken(name: str) -> str:
    return f"found the name {shown(name)}, expected another: every output record has a field of that name"


def _name(path: Path, name: object) -> Iterator[Problem]:
    """A name that stands in JSON as it is: records are read and written without a look at what would be escaped."""
    if not isinstance(name, str) or name == "" or _ESCAPED.search(name):
        yield Problem(path, mismatch(name, "a name without quotation marks, backslashes and control characters"))


def _binary(stream: Stream) -> Iterator[Problem]:
    if not stream.fields:
        yield Problem(
            ("fields",), f"is missing, expected the names of the columns of {stream.format} records, in order"
        )
        return
    for path, field in _named_fields(stream):
        if path[0] == "key" and field not in stream.select:
            expected = f"none: {stream.format} records hold numbers, so their record's key is used"
            yield Problem(path, mismatch(field, expected))
    if stream.time is not None and stream.time not in stream.fields:
        yield Problem(("time",), unknown("field", stream.time, stream.fields))
    for field in stream.vectors:
        if field not in stream.fields:
            yield Problem(("vectors", field), unknown("field", field, stream.fields))


def check_dedupe(dedupe: Dedupe) -> None:
    """That only a window of time is bounded in events too."""
    if dedupe.seconds is None and dedupe.max_events is not None:
        refuse([Problem(("max_events",), mismatch(dedupe.max_events, "nothing: the window is a number of events"))])


def check_table(table: Table) -> None:
    """The names of a table's operators, the fields they read, whether their shapes fit, and when keys are dropped."""
    operators = (
        problem.under("operators", name)
        for name, operator in table.operators.items()
        for problem in _operator(table, name, operator)
    )
    refuse((*_streams(table), *operators, *_ids(table), *_drops(table), *_keys(table), *_partitions(table)))


def one_or_several(stream: Stream | None, streams: tuple[Stream, ...]) -> tuple[Stream, tuple[Stream, ...]]:
    """The first of a table's streams, and all of them; they are given as one or as several."""
    if stream is None:
        if not streams:
            refuse([Problem(("stream",), "is missing, expected a stream, or several as streams")])
        return streams[0], streams
    if len(streams) > 1 and streams[0] is not stream:
        refuse([Problem(("streams",), mismatch([each.name for each in streams], "nothing: there is a stream"))])
    return stream, streams if len(streams) > 1 else (stream,)


def _streams(table: Table) -> Iterator[Problem]:
    if len(table.streams) == 1:
        return
    for place, stream in enumerate(table.streams):
        path = ("streams", place)
        if not stream.repartition:
            why = "events of several topics meet by their key in one of the table's own"
            yield Problem(path, mismatch(stream.name, f"a stream with repartition = true: {why}"))
        if stream in table.streams[:place]:
            yield Problem(path, mismatch(stream.name, "each stream once"))
        for field in table.inputs:
            if stream.vectors.get(field) != table.stream.vectors.get(field):
                yield Problem(path, mismatch(stream.name, f"a stream whose {shown(field)} is as in the first one"))


def _keys(table: Table) -> Iterator[Problem]:
    """A key of the table's own."""
    if table.key is None:
        return
    if not table.stream.repartition:
        why = f"the stream {shown(table.stream.name)} isn't repartitioned, the table is kept by its key"
        yield Problem(("key",), mismatch(table.key, f"nothing: {why}"))
        return
    for place, field in enumerate([table.key] if isinstance(table.key, str) else table.key):
        path: Path = ("key",) if isinstance(table.key, str) else ("key", place)
        yield from _name(path, field)
        if field in RESERVED and isinstance(table.key, tuple):
            yield Problem(path, _taken(field))
        for stream in table.streams:
            if field == stream.time or field in stream.vectors or stream.choice.kinds.get(field) is Kind.BOOLEAN:
                has = "its time" if field == stream.time else _otherwise(stream, field)
                expected = f"text or an integer: the stream {shown(stream.name)} has it as {has}"
                yield Problem(path, mismatch(field, expected))
            elif stream.binary and field not in stream.select:
                yield Problem(path, mismatch(field, f"a selected name: {stream.format} records hold numbers"))


def _partitions(table: Table) -> Iterator[Problem]:
    if table.partitions is not None and not table.stream.repartition:
        why = f"the stream {shown(table.stream.name)} isn't repartitioned, the table has its partitions"
        yield Problem(("partitions",), mismatch(table.partitions, f"nothing: {why}"))


def _drops(table: Table) -> Iterator[Problem]:
    if table.on_null == "delete" and table.stream.repartition:
        why = "a record without value has no fields, so nobody knows which key of a repartitioned stream it means"
        yield Problem(("on_null",), mismatch("delete", f'"dead-letter": {why}'))
    if table.on_null == "delete" and table.stream.key_fields and table.stream.partitioned_by_key:
        why = "a null has its record's key alone, and partitioned_by_key says that this may be another than the field's"
        yield Problem(("on_null",), mismatch("delete", f'"dead-letter": {why}'))
    if table.on_full == "evict" and table.max_keys is None:
        yield Problem(("max_keys",), 'is missing, expected a number of keys: on_full is "evict"')


def _ids(table: Table) -> Iterator[Problem]:
    if table.dedupe is None:
        return
    yield from _name(("dedupe", "field"), table.dedupe.field)
    for stream in table.streams:
        yield from _id(stream, table.dedupe.field)


def _id(stream: Stream, field: str) -> Iterator[Problem]:
    path = ("dedupe", "field")
    if stream.binary:
        yield Problem(path, mismatch(field, f"none: {stream.format} records hold numbers, ids are text or integers"))
    elif field in {*stream.key_fields, stream.time}:
        what = "key" if field in stream.key_fields else "time"
        yield Problem(path, mismatch(field, f"an event's id: the stream {shown(stream.name)} has it as its {what}"))
    elif field in stream.select:
        yield Problem(path, mismatch(field, f"a field of the event: the stream {shown(stream.name)} selects it"))
    elif field in stream.vectors or stream.choice.kinds.get(field) is Kind.BOOLEAN:
        has = _otherwise(stream, field)
        yield Problem(path, mismatch(field, f"text or an integer: the stream {shown(stream.name)} has it as {has}"))


def _otherwise(stream: Stream, field: str) -> str | None:
    """As what a stream has a field that is none with a number."""
    if field in stream.vectors:
        return "a vector"
    kind = stream.choice.kinds.get(field)
    return kind.value if kind in {Kind.TEXT, Kind.BOOLEAN} else None


def _operator(table: Table, name: str, operator: Operator) -> Iterator[Problem]:
    yield from _name((), name)
    if name in RESERVED:
        yield Problem((), _taken(name))
    for field in {name, f"{name}.state"} & set(table.key_parts):
        yield Problem((), f"found the name {shown(name)}, expected another: {shown(field)} is a part of the key")
    if f"{name}.state" in table.operators and operator.publish != "readout":
        yield Problem(("publish",), mismatch(operator.publish, f'"readout": {shown(name + ".state")} is an operator'))
    misread = [
        problem
        for stream in table.streams
        for role, field in operator.inputs().items()
        for problem in _input(stream, role, field)
    ]
    yield from misread
    if misread:
        return
    try:
        operator.layout(table.shapes(name))
    except OperatorError as error:
        yield Problem((error.option,), str(error))


def _input(stream: Stream, role: str, given: str | tuple[str, ...]) -> Iterator[Problem]:
    for place, field in enumerate([given] if isinstance(given, str) else given):
        path = (role,) if isinstance(given, str) else (role, place)
        yield from _name(path, field)
        if not isinstance(given, str) and field in stream.vectors:
            yield Problem(path, mismatch(field, f"a number: the stream {shown(stream.name)} has it as a vector"))
        elif field in {*stream.key_fields, stream.time}:
            what = "key" if field in stream.key_fields else "time"
            yield Problem(
                path, mismatch(field, f"a field with numbers: the stream {shown(stream.name)} has it as its {what}")
            )
        elif field not in stream.vectors and (kind := _otherwise(stream, field)) is not None:
            yield Problem(path, mismatch(field, f"a number: the stream {shown(stream.name)} has it as {kind}"))
        elif stream.binary and field not in stream.fields and field not in stream.select:
            yield Problem(path, unknown("field", field, [*stream.fields, *stream.select]))


def check_kafka(security: KafkaSecurity) -> None:
    """That a login and certificates go with the protocol."""
    refuse(_kafka(security))


def _kafka(security: KafkaSecurity) -> Iterator[Problem]:
    sasl = security.security_protocol.startswith("SASL")
    for option in ("sasl_username", "sasl_password"):
        if sasl and getattr(security, option) is None:
            yield Problem((option,), f"is missing, expected text: security_protocol is {security.security_protocol}")
        elif not sasl and getattr(security, option) is not None:
            expected = alternatives(["SASL_SSL", "SASL_PLAINTEXT"])
            yield Problem(
                ("security_protocol",), mismatch(security.security_protocol, f"{expected}: there is a {option}")
            )
    ssl = security.security_protocol.endswith("SSL")
    for option in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password"):
        if not ssl and getattr(security, option) is not None:
            expected = alternatives(["SSL", "SASL_SSL"])
            yield Problem(
                ("security_protocol",), mismatch(security.security_protocol, f"{expected}: there is a {option}")
            )
    if security.ssl_keyfile is not None and security.ssl_certfile is None:
        yield Problem(("ssl_certfile",), "is missing, expected the certificate of ssl_keyfile")
    if security.ssl_key_password is not None and security.ssl_certfile is None:
        yield Problem(("ssl_certfile",), "is missing, expected the certificate whose key is locked")


def check_app(app: App, declared: Mapping[str, Stream]) -> None:
    """That no two topics are one: sources, outputs, changelogs and dead letters."""
    refuse(_app(app, declared))


def _app(app: App, declared: Mapping[str, Stream]) -> Iterator[Problem]:
    for table in app.tables.values():
        for stream in table.streams:
            known = declared.get(stream.name, app.streams[stream.name])
            if known != stream:
                yield Problem(
                    ("tables", table.name, "stream"),
                    f"found another stream of the name {shown(known.name)}, expected one a name",
                )
    yield from _chains(app)
    taken: dict[str, str] = {}
    for path, topic, role in _topics(app):
        # Kafka takes '.' and '_' for the same letter in its metrics, and refuses such a pair of topics.
        alike = topic.replace(".", "_")
        if alike in taken:
            yield Problem(path, f"found the topic {shown(topic)} for {role}, expected another: it is {taken[alike]}")
        else:
            taken[alike] = role
        try:
            topic_name(topic)
        except ValueError:
            yield Problem(path, f"found the topic {shown(topic)} for {role}, expected a name of at most 249 characters")


def _chains(app: App) -> Iterator[Problem]:
    """Streams that are the output of a table: as that is written, each read once, and not back into where it began."""
    fed = [stream for stream in app.streams.values() if app.feeder(stream) is not None]
    read: dict[str, str] = {}
    for stream in fed:
        path = ("streams", stream.name)
        if stream.format != "json":
            yield Problem((*path, "format"), mismatch(stream.format, '"json": tables publish JSON'))
        if stream.topic in read:
            expected = f"another: the stream {shown(read[stream.topic])} reads it"
            yield Problem((*path, "topic"), mismatch(stream.topic, expected))
        read[stream.topic] = stream.name
    for table in app.tables.values():
        if (loop := _loop(app, table)) is not None:
            way = " -> ".join(map(shown, [*loop, loop[0]]))
            expected = "a stream that no table makes of this one's results"
            yield Problem(("tables", table.name, "stream"), f"found a cycle of tables, {way}, expected {expected}")
            return


def _loop(app: App, table: Table, way: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """A way from the last table of one back to it, from each table to one that it feeds; None if there is none."""
    if table.name in way:
        return way if table.name == way[-1] else None
    feeders = (app.feeder(stream) for stream in table.streams)
    ways = (_loop(app, feeder, (table.name, *way)) for feeder in feeders if feeder is not None)
    return next((found for found in ways if found is not None), None)


def _topics(app: App) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Every topic with the path of what names it, and what it is for."""
    for stream in app.streams.values():
        if app.feeder(stream) is None:
            yield ("streams", stream.name, "topic"), stream.topic, f"the source of the stream {shown(stream.name)}"
    yield ("app", "name"), app.dead_letters, "the dead letters"
    for table in app.tables.values():
        path = ("tables", table.name)
        yield path, app.changelog(table), f"the changelog of the table {shown(table.name)}"
        yield (*path, "output"), app.output(table), f"the output of the table {shown(table.name)}"
        if table.stream.repartition:
            what = f"the repartitioning of the table {shown(table.name)}"
            yield path, app.repartition(table), what
            for stream in table.streams:
                yield path, f"{app.name}-{app.hop(table, stream)}-changelog", what
