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
@click.option("--format", "form", type=click.Choice(["text", "mermaid", "json"]), default="text", show_default=True)
@as_json
def command(config: Config, form: str, as_json: bool) -> None:
    """Show the topology of FILE: streams, tables, outputs, changelogs, dead letters, and the state that a key takes.

    Needs no broker. Secrets are masked. --format mermaid draws a diagram for Markdown.
    """
    click.echo(FORMS["json" if as_json else form](config.app))


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
        yield from _table_lines(app, table)


def _key(key: str | tuple[str, ...] | None) -> str:
    if key is None:
        return "of the record"
    return f'field "{key}"' if isinstance(key, str) else "/".join(f'"{field}"' for field in key) + " joined"


def _table_lines(app: App, table: Table) -> Iterator[str]:
    what = "every event's result" if table.emit == "every" else "each touched key's latest, once a commit"
    yield f"  table {table.name} -> {app.output(table)}: {what}"
    if table.stream.repartition:
        sent = "what a commit's events of a key leave" if table.two_stage else "events"
        count = f"{table.partitions} partitions" if table.partitions else "as many partitions as the source"
        key = _key(table.key if table.key is not None else table.stream.key)
        yield f"    repartitioned: {sent}, by key {key}, through {app.repartition(table)} ({count})"
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
    """Nodes have numbers, because names may hold any letter; the labels are quoted."""
    lines = ["flowchart LR"]
    for number, stream in enumerate(app.streams.values()):
        lines.append(f'  s{number}[/"{stream.topic}"/]')
        for table in app.tables_of(stream):
            place = list(app.tables).index(table.name)
            operators = "<br/>".join(f"{_quoted(name)}: {type_name(o)}" for name, o in table.operators.items())
            lines += [
                f'  t{place}["<b>{table.name}</b><br/>{operators}"]',
                *_way(app, table, number, place),
                f'  t{place} --> o{place}[/"{app.output(table)}"/]',
                f'  t{place} <--> c{place}[("{app.changelog(table)}")]',
                f"  s{number} -. bad events .-> dead",
            ]
    lines.append(f'  dead[/"{app.dead_letters}"/]')
    return "\n".join(dict.fromkeys(lines))


def _way(app: App, table: Table, number: int, place: int) -> list[str]:
    """From a stream to a table."""
    if not table.stream.repartition:
        return [f"  s{number} --> t{place}"]
    label = "states" if table.two_stage else "events"
    return [f'  s{number} -- {label} by key --> r{place}[/"{app.repartition(table)}"/]', f"  r{place} --> t{place}"]


def _quoted(name: str) -> str:
    return name.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


FORMS: dict[str, Callable[[App], str]] = {"text": _text, "mermaid": _mermaid, "json": _json}
