"""The reference page of the configuration file, made from the options of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.config.model import App, Dedupe, Stream, Table
from pipeline.core.config.option import Option, options_of
from pipeline.core.config.security import KafkaSecurity
from scripts.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"

_HEAD = """\
# Configuration

A TOML file; `streamfold init` writes one with comments, `streamfold validate` checks it, `streamfold schema` prints
its JSON Schema for completion in an editor. In Python the same options are those of `App`, `Stream` and `Table`.

A duration is text: `"250ms"`, `"30s"`, `"5m"`, `"12h"`, `"7d"`. Any text may hold `${NAME}` or `${NAME:-default}`,
which read the environment; a secret may be `file:PATH`."""

_SECTIONS: tuple[tuple[str, type, str, tuple[str, ...]], ...] = (
    ("app", App, "The pipeline.", ("tables", "streams", "kafka")),
    ("app.kafka", KafkaSecurity, "For brokers that ask for TLS or a login.", ()),
    (
        "streams.NAME",
        Stream,
        "An input topic with its decoding. `select` and `where` are [expressions](expressions.md); how they and a key "
        "of several fields are used: [choose events](../how-to/choose-events.md).",
        ("name",),
    ),
    (
        "tables.NAME",
        Table,
        "State for each key, kept from a stream. How keys go: [bound the state](../how-to/bound-the-state.md).",
        ("name", "operators", "dedupe", "metrics_keys"),
    ),
    ("tables.NAME.dedupe", Dedupe, "Fold events that come again once.", ()),
)

_TAIL = """\
## `[tables.NAME.operators]`

One line an operator: `NAME = { type = "TYPE", ... }`. NAME is the field in the output record; the types with their
options are in the [reference of the operators](operators/index.md).

## `[tables.NAME.metrics]`

`keys`: a list of keys whose values are exposed as metrics."""


def page() -> str:
    """The page's text."""
    return "\n\n".join([_HEAD, *(_section(*section) for section in _SECTIONS), _TAIL]) + "\n"


def _section(path: str, cls: type, summary: str, inner: tuple[str, ...]) -> str:
    return f"## `[{path}]`\n\n{summary}\n\n{table(('option', 'default', 'what', 'expected'), _rows(cls, inner))}"


def _rows(cls: type, inner: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    for name, option in options_of(cls).items():
        if name not in inner:
            expected = "the name of a stream" if option is Table.stream else option.expected
            yield f"`{name}`", _default(option), option.doc.replace("<", "&lt;"), expected


def _default(option: Option[Any, Any]) -> str:
    if option.required:
        return "needed"
    return "" if option.default in (None, (), {}) else f"`{json.dumps(option.default)}`"
