"""A first configuration as TOML, with comments for whoever goes on from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from keyword import iskeyword

from pipeline.cli.plan import Plan

STREAM = "events"
TABLE = "averages"

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_COMMENTS_AT = 46


def begun(plan: Plan, app: str, commands: list[str]) -> str:
    """The text of a configuration named ``app``; ``commands`` are what it is good for."""
    return "\n".join([*_head(plan, commands), "", *_app(app), "", *_stream(plan, app), "", *_table(plan)]) + "\n"


def in_words(plan: Plan) -> str:
    """What it keeps."""
    names = ", ".join(column.name for column in plan.values)
    each = "all events together" if plan.key is None else f"each {plan.key.name}"
    last = f"the last {plan.window}" if isinstance(plan.window, str) else f"the last {plan.window} events"
    return f"the mean of {names} for {each}, over everything and over {last}"


def _head(plan: Plan, commands: list[str]) -> Iterator[str]:
    words = in_words(plan)
    yield _comment(f"# {words[0].upper()}{words[1:]}.")
    yield "#"
    yield from (_comment(f"#   streamfold {command}") for command in commands)


def _app(name: str) -> Iterator[str]:
    yield "[app]"
    yield _line(f"name = {_text(name)}", "the consumer group; the topics that are made begin with it")
    yield _line('brokers = "${KAFKA:-localhost:9092}"', "${NAME:-default} reads the environment")
    yield _line('http = "${HTTP:-127.0.0.1:6066}"', "health, metrics, the tables")


def _stream(plan: Plan, app: str) -> Iterator[str]:
    yield _line(f"[streams.{STREAM}]", "what comes in")
    yield f"topic = {_text(f'{app}-{STREAM}')}"
    if plan.key is not None:
        yield _line(f"key = {_text(plan.key.name)}", "each has averages of its own")
        yield _line("# repartition = true", "for producers whose records have no key, or another one")
    else:
        everything = _free("all", {column.name for column in plan.values})
        yield _line(f"key = {_text(everything)}", "the same for every event: one average of everything")
        yield f"""select = {{ {everything} = "'all'" }}"""
    if plan.time is not None:
        unit = plan.time.time_unit
        yield _line(f"time = {_text(plan.time.name)}", unit if unit == "RFC 3339" else "Unix time")
        if unit != "RFC 3339":
            yield f"time_unit = {_text(str(unit))}"
    field = plan.values[0].name
    yield _line(f"# where = {_text(f'{_field(field)} > 0')}", "which events are folded; left out: all")


def _table(plan: Plan) -> Iterator[str]:
    yield _line(f"[tables.{TABLE}]", "what is kept, and published for each event")
    yield f"stream = {_text(STREAM)}"
    yield _line('missing = "skip"', "an empty cell leaves the operators that read it as they are")
    yield _line('# emit = "commit"', "publish each key's latest only, once a commit")
    yield _line('# ttl = "30d"', "drop a key without events for so long")
    yield ""
    yield _line(f"[tables.{TABLE}.operators]", "the name left of = is the field in the results")
    taken = {"events", "key", "time", "partition", "offset"}
    yield 'events = { type = "count" }'
    for column in plan.values:
        name = re.sub(r"\W+", "_", column.name).strip("_") or "value"
        value = f"value = {_text(column.name)}"
        for suffix, operator in (
            ("mean", f'type = "mean", {value}'),
            (f"last_{plan.window}", f'type = "moving_mean", {value}, window = {json.dumps(plan.window)}'),
        ):
            taken.add(free := _free(f"{name}_{suffix}", taken))
            yield f"{_key(free)} = {{ {operator} }}"
    yield "# `streamfold operators` lists what else can be kept: fading means, quantiles, alarms, memories of vectors"


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _comment(text: str) -> str:
    """On one line, with "?" for what TOML has in no comment, and for what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _line(setting: str, comment: str) -> str:
    return f"{setting:{_COMMENTS_AT}}# {comment}"


def _field(name: str) -> str:
    """As an expression has it."""
    return name if name.isidentifier() and name.isascii() and not iskeyword(name) else f"`{name}`"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
