"""What the pages say beyond the code: the order of the operators, what an event costs, and an example of each."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators import TYPES, Operator

CATALOGUE = Path(__file__).with_name("operators.toml")

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """A worked example: ``lines`` of a table's operators, the events of one key, and ``text``, what they show.

    ``key`` names the field of the key. Of the operator ``asked`` each of ``queries`` is asked after the last event.
    """

    text: str
    lines: str
    events: Sequence[Event]
    key: str
    asked: str | None
    queries: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Entry:
    """One operator: its name, which is ``type`` in a configuration, its class, and what the code does not say.

    ``bound`` is its precision where that isn't the usual one.
    """

    name: str
    cls: type[Operator]
    cost: str
    bound: str | None
    example: Example


@dataclass(frozen=True)
class Family:
    """Operators that belong together, in the order in which a reader wants them."""

    title: str
    text: str
    entries: Sequence[Entry]


def families(path: Path = CATALOGUE) -> list[Family]:
    """All operators of the catalogue. Raises KeyError for one that the code does not have."""
    given = tomllib.loads(path.read_text("utf-8"))["family"]
    return [
        Family(family["title"], family["text"], [_entry(name, about) for name, about in family["operators"].items()])
        for family in given
    ]


def _entry(name: str, about: Mapping[str, Any]) -> Entry:
    example = Example(
        about["text"],
        about["example"].strip(),
        _events(about["events"]),
        about.get("key", "machine"),
        about.get("asked"),
        about.get("queries", ()),
    )
    return Entry(name, TYPES[name], about["cost"], about.get("bound"), example)


def _events(table: str) -> list[Event]:
    """Rows of JSON values without spaces under a row of names."""
    head, *rows = [line.split() for line in table.strip().splitlines()]
    return [dict(zip(head, map(json.loads, row), strict=True)) for row in rows]
