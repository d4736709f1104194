"""`streamfold describe`: what a configuration comes to, as text, as a diagram, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import click

from operators.operator import Algebra
from pipeline.cli.options import Config, as_json, config_file
from pipeline.core.config.model import App, Stream, Table
from pipeline.core.config.operator_types import type_name
from pipeline.core.config.summary import GUARANTEE, operator_bytes, operator_options, state_bytes, summary


@click.command("describe")
@config_file
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "mermaid", "json"]),
    default="text",
    show_default=True,
    help="How it is shown.",
)
@as_json
def command(config: Config, layout: str, as_json: bool) -> None:
    """Show the topology of FILE: streams, tables, outputs, changelogs, dead letters, and the state that a key takes.

    Needs no broker. Secrets are masked. --format mermaid draws a diagram for Markdown.
    """
    click.echo(FORMS["json" if as_json else layout](config.app))


def _json(app: App) -> str:
    return json.dumps(summary(app), indent=2, ensure_ascii=False)


def _text(app: App) -> str:
    return "\n".join(_lines(app))


def _lines(app: App) -> Iterator[str]:
    yield f"{app.name}: {GUARANTEE}, a commit every {app.commit_interval:g} s"
    yield f"  brokers       {app.brokers}"
    if app.kafka:
        yield f"  login         {app.kafka.security_protocol}{_user(app)}"
    yield f"  group         {app.group}"
    yield f"  http          {app.http}"
    yield f"  dead letters  {app.dead_letters}"
    for stream in app.streams.values():
        yield ""
        yield from _stream_lines(app, stream)


def _user(app: App) -> str:
    return f", user {app.kafka.sasl_username}" if app.kafka and app.kafka.sasl_username else ""


def _stream_lines(app: App, stream: Stream) -> Iterator[str]:
    key = _key(stream.key)
    time = f'field "{stream.time}"' if stream.time else "of the record"
    yield f"stream {stream.name} <- {stream.topic}: {stream.format}, key {key}, time {time}"
    for name, text in stream.select.items():
        yield f"  select {name} = {json.dumps(text, ensure_ascii=False)}"
    if stream.where is not None:
        yield f"  where {json.dumps(stream.where, ensure_ascii=False)}"
    tables = app.tables_of(stream)
    if not tables:
        yield "  no table reads it"
    for table in tables:
        yield from _table_lines(app, table, stream)


def _key(key: str | tuple[str, ...] | None) -> str:
    if key is None:
        return "of the record"
    return f'field "{key}"' if isinstance(key, str) else "/".join(f'"{field}"' for field in key) + " joined"


def _table_lines(app: App, table: Table, stream: Stream) -> Iterator[str]:
    """What a table does with a stream; and what it keeps, below the first of its streams."""
    what = "every event's result" if table.emit == "every" else "each touched key's latest, once a commit"
    first = table.streams[0].name
    if stream.name != first:
        what = f"together with stream {first}, see there"
    yield f"  table {table.name} -> {app.output(table)}: {what}"
    if table.stream.repartition:
        sent = "what a commit's events of a key leave" if table.two_stage else "events"
        count = f"{table.partitions} partitions" if table.partitions else "as many partitions as the source"
        key = _key(table.key if table.key is not None else stream.key)
        yield f"    repartitioned: {sent}, by key {key}, through {app.repartition(table)} ({count})"
    if stream.name != first:
        return
    width = max(map(len, table.operators))
    for name, operator in table.operators.items():
        options = ", ".join(f"{option} = {_shown(value)}" for option, value in operator_options(operator).items())
        kept = f"{operator_bytes(table, name):,} bytes a key, {_COMBINES[operator.algebra]}"
        yield f"    {name:{width}}  {type_name(operator)}({options}), {kept}"
    yield f"    state: {state_bytes(table):,} bytes a key, in {app.changelog(table)} ({app.fingerprint(table)})"


_COMBINES: dict[Algebra, str] = {
    "group": "merges, takes back",
    "monoid": "merges",
    "ordered": "merges in order",
    "none": "does not merge",
}


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _mermaid(app: App) -> str:
    """A topic is one node, whoever writes and reads it. Nodes have numbers, because names may hold any letter."""
    topics: dict[str, str] = {}
    edges: dict[str, None] = {}

    def node(topic: str) -> str:
        return topics.setdefault(topic, f"k{len(topics)}")

    for stream in app.streams.values():
        source = node(stream.topic)
        for table in app.tables_of(stream):
            place = f"t{list(app.tables).index(table.name)}"
            if table.stream.repartition:
                what, way = "states" if table.two_stage else "events", node(app.repartition(table))
                edges |= dict.fromkeys([f"{source} -- {what} by key --> {way}", f"{way} --> {place}"])
            else:
                edges[f"{source} --> {place}"] = None
            edges[f"{place} --> {node(app.output(table))}"] = None
            edges[f"{source} -. bad events .-> {node(app.dead_letters)}"] = None
    tables = [line for number, table in enumerate(app.tables.values()) for line in _table_nodes(app, table, number)]
    shown = [f'{name}[/"{topic}"/]' for topic, name in topics.items()]
    return "\n".join(["flowchart LR", *(f"  {line}" for line in [*shown, *tables, *edges])])


def _table_nodes(app: App, table: Table, number: int) -> list[str]:
    """A table, and its changelog, which nobody else reads."""
    operators = "<br/>".join(f"{_quoted(name)}: {type_name(operator)}" for name, operator in table.operators.items())
    return [
        f't{number}["<b>{_quoted(table.name)}</b><br/>{operators}"]',
        f't{number} <--> c{number}[("{app.changelog(table)}")]',
    ]


def _quoted(name: str) -> str:
    return name.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


FORMS: dict[str, Callable[[App], str]] = {"text": _text, "mermaid": _mermaid, "json": _json}
