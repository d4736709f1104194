"""The pages, in Markdown."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from operators.duration import Duration
from operators.operator import Operator, OperatorError
from pipeline.core.config import catalogue
from pipeline.core.config.catalogue import MERGE, ORDER, TAKE_BACK
from pipeline.core.config.operator_types import takes_duration
from pipeline.core.config.summary import layout_bytes
from scripts.markdown import Cells, table
from scripts.reference.catalogue import Entry, Family
from scripts.reference.docstring import parse
from scripts.reference.worked import Worked, shown, work

_WIDE = 16
"""The length of the vectors that sizes are also given for."""

_VECTORS = ("value", "other", "key", "query")
"""The roles that sizes are also given for as vectors where the example has numbers."""

_BOUND = "a result is within 1e-12 of the exact one ([measured so](index.md#precision))."

_INDEX = Path(__file__).with_name("index.md")
_INDEX_HEAD = ("type", "what it is", "merge", "take back", "order", "example", f"{_WIDE} numbers")


def page(entry: Entry) -> str:
    """The page of one operator."""
    doc, worked, options = parse(entry.cls), work(entry.example), list(_options(entry.cls))
    parts = [
        f"# `{entry.name}`",
        doc.summary,
        f"```text\n{doc.formula}\n```",
        *doc.text,
        "## Memory",
        _memory(entry, worked),
        doc.state and f"**State**: {doc.state}",
        f"**Precision**: {entry.bound or _BOUND}",
        f"**Cost**: {entry.cost}",
        "## Options",
        table(("option", "takes", "if left out"), options) if options else "None of its own.",
        doc.parameters,
        "## Example",
        entry.example.text,
        f"```toml\n{worked.config}```",
        _events(entry, worked),
        _answers(entry, worked),
        "## Papers" if doc.references else "",
        "\n".join(f"- {reference}" for reference in doc.references),
        "[All operators](index.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index(families: Sequence[Family]) -> str:
    """The page that lists them all."""
    parts = [
        f"## {family.title}\n\n{family.text}\n\n{table(_INDEX_HEAD, map(_index_row, family.entries))}"
        for family in families
    ]
    return _INDEX.read_text("utf-8").replace("{{operators}}", "\n\n".join(parts))


def _index_row(entry: Entry) -> Cells:
    worked = work(entry.example)
    words = map(catalogue.Entry(entry.name, entry.cls).said, (MERGE, TAKE_BACK, ORDER))
    name, summary = f"[`{entry.name}`]({entry.name}.md)", parse(entry.cls).summary.rstrip(".")
    small, large = (*_sizes(worked, _kinds(entry, worked)[0]).values(), "")[:2]
    return (name, summary, *words, small, large)


def _memory(entry: Entry, worked: Worked) -> str:
    """What the memory is, a column for each kind of it that the example has."""
    kinds = _kinds(entry, worked)
    sizes = [_sizes(worked, name) for name in kinds]
    algebras = [worked.operators[name].algebra for name in kinds]
    rows = [(f"bytes of a key, {what}", *(size[what] for size in sizes)) for what in sizes[0]]
    rows += [
        ("[merge](index.md#what-can-be-done-with-a-memory)", *(MERGE[algebra] for algebra in algebras)),
        ("take back", *(TAKE_BACK[algebra] for algebra in algebras)),
        ("order", *(ORDER[algebra] for algebra in algebras)),
    ]
    return table(("", *(f"`{name}`" for name in kinds)), rows)


def _kinds(entry: Entry, worked: Worked) -> list[str]:
    """The example's operators of the page's type that differ in what they keep."""
    kinds: dict[object, str] = {}
    for name, operator in worked.operators.items():
        if type(operator) is entry.cls:
            kinds.setdefault((operator.algebra, *_sizes(worked, name).values()), name)
    return list(kinds.values())


def _sizes(worked: Worked, name: str) -> Mapping[str, str]:
    """What the state of a key takes, by what is kept: the example's inputs, and vectors where they may be."""
    operator, shapes = worked.operators[name], worked.table.shapes(name)
    wide = {role: (_WIDE,) if shape or role in _VECTORS else () for role, shape in shapes.items()}
    named = "with the example's inputs", f"with vectors of {_WIDE}"
    sizes = {}
    for what, inputs in zip(named, (shapes, wide), strict=True):
        try:
            sizes[what] = f"{layout_bytes(operator.layout(inputs)):,}"
        except OperatorError:  # it takes numbers only
            continue
    return sizes if wide != shapes else {named[0]: sizes[named[0]]}


def _options(cls: type[Operator]) -> Iterable[Cells]:
    hints = get_type_hints(cls)
    options = [option for option in dataclasses.fields(cls) if option.init and option.name != "publish"]
    for option in sorted(options, key=lambda option: option.default is not dataclasses.MISSING):
        yield f"`{option.name}`", _takes(hints[option.name]), _default(option.default)


def _default(value: object) -> str:
    if value is dataclasses.MISSING:
        return "it is required"
    return "" if value is None else f"`{json.dumps(value)}`"


def _takes(hint: Any) -> str:
    """A type in words, as a configuration file has it."""
    if takes_duration(hint):
        return 'a duration, such as `"30s"`'
    if get_origin(hint) is Literal:
        return ", ".join(f"`{json.dumps(word)}`" for word in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if set(kinds) == {str, Sequence[str]}:
            return "a field, or a list of fields"
        if set(kinds) == {int, str}:
            return 'a whole number of events, or a duration, such as `"5m"`'
        return " or ".join(map(_takes, kinds))
    if get_origin(hint) in (Sequence, tuple):
        return f"a list of {_LISTED[get_args(hint)[0]]}"
    return _WORDS[hint]


_LISTED = {float: "numbers", Duration: "durations"}
_WORDS = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "text"}


def _events(entry: Entry, worked: Worked) -> str:
    """The events of the example with the results that each had."""
    rows = [
        (*map(shown, event.values()), *(f"`{shown(part)}`" for part in result.values()))
        for event, result in zip(entry.example.events, worked.results, strict=True)
    ]
    fields = [f"`{name}`" for name in entry.example.events[0]]
    return table((*fields, *(f"**{name}**" for name in worked.results[0])), rows)


def _answers(entry: Entry, worked: Worked) -> str:
    """What the memory gives for the queries of the example after its last event."""
    if not worked.answers:
        return ""
    answers = zip(entry.example.queries, worked.answers, strict=True)
    rows = [(shown(list(query)), f"`{shown(answer)}`") for query, answer in answers]
    head = "Asked after the last event (over HTTP, or by `streamfold query --read`):"
    return f"{head}\n\n{table(('query', f'**{entry.example.asked}**'), rows)}"
