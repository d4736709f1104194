"""The how-tos: what they show of `watch` and `query` is what becomes of the events that they show."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import pytest

from pipeline.cli.updates import Columns
from pipeline.core.config.load import loads
from pipeline.core.written import read_json_lines
from pipeline.edges.kafka.subscribe import Update
from tests.folded import Folded, folded
from tests.test_readme import PAGES, blocks, by_page

pytestmark = pytest.mark.docs


def sessions(page: Path) -> list[tuple[list[str], str]]:
    """The commands of a page that ask for results, each with what is shown of them."""
    shown = [block.removeprefix("$ ").partition("\n") for block in blocks(page, "text")]
    asked = [(shlex.split(command), output) for command, _, output in shown if command.startswith("streamfold ")]
    return [(words, output) for words, output in asked if words[1] in ("watch", "query")]


SHOWN = [page for page in PAGES if blocks(page, "json") and sessions(page)]


def option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def watched(done: Folded, table: str, key: str | None) -> str:
    columns = Columns()
    records = done.published[done.app.output(done.app.tables[table])]
    lines = [
        columns.lines(Update(name or b"", value, 0, 0))
        for name, value in records
        if key is None or name == key.encode()
    ]
    return click.unstyle("\n".join(lines))


def answered(done: Folded, table: str, key: str, operator: str, read: str | None) -> str:
    answer = done.answer(table, key, operator, None if read is None else json.loads(read))
    parts = answer if isinstance(answer, dict) else {"value": answer}
    width = max(map(len, parts))
    return "\n".join(f"{name:{width}}  {json.dumps(value)}" for name, value in parts.items())


def test_each_of_the_three_shows_some() -> None:
    assert {page.name for page in SHOWN} >= {"sensors.md", "game-scores.md", "vectors.md"}


@pytest.mark.parametrize("page", SHOWN, ids=by_page)
def test_the_events_become_what_is_shown(page: Path) -> None:
    app = loads(blocks(page, "toml")[0], page, {})
    (stream,) = app.streams
    done = folded(app, stream, read_json_lines(blocks(page, "json")[0].encode().splitlines()))
    assert done.dead_letters() == []
    for words, output in sessions(page):
        if words[1] == "watch":
            found = watched(done, words[3], option(words, "--key"))
        else:
            operator = option(words, "--operator")
            assert operator is not None, "what is committed up to where depends on the run"
            found = answered(done, words[3], words[4], operator, option(words, "--read"))
        assert found == output.strip(), " ".join(words)
