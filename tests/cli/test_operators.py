"""`streamfold operators`, and what `describe` says of how states combine."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from operators import TYPES
from pipeline.cli import main
from pipeline.core.config.catalogue import entries
from tests.operators.catalogue import CASES


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def rows(text: str) -> dict[str, list[str]]:
    """Cells by the first one, of columns that are two blanks apart."""
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return {line[0]: line[1:] for line in cells}


def test_every_operator_has_a_line() -> None:
    listed = rows(call("operators").stdout)
    assert list(listed) == ["type", *TYPES]
    assert listed["type"] == ["what it is", "merge", "take back", "order"]
    assert listed["count"] == ["The number of events.", "yes", "yes", "any"]
    assert listed["max"][1:] == ["yes", "no", "any"]
    assert listed["kv_window"][1:] == ["in order", "no", "of arrival"]
    assert listed["delta_rule"][1:] == ["no", "no", "of arrival"]
    assert listed["ewma"][1:] == ["yes / in order", "yes / no", "any / of arrival"]
    assert "`" not in "".join(listed["count"])


def test_what_is_said_of_a_type_holds_for_every_operator_of_it() -> None:
    said = {entry.cls: entry.algebras for entry in entries()}
    assert all(said.values())
    for case in CASES:
        if type(case.operator) in said:
            assert case.operator.algebra in said[type(case.operator)], case.name


def test_on_a_terminal_it_is_as_wide_as_that() -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    command = [sys.executable, "-m", "pipeline.cli", "operators"]
    with subprocess.Popen(command, stdout=child, env=environment) as process:
        os.close(child)
        said = b""
        try:
            while part := os.read(parent, 65_536):
                said += part
        except OSError:  # the terminal is gone with its last writer
            pass
    os.close(parent)
    assert process.returncode == 0
    lines = said.decode().splitlines()
    assert "\x1b[1m" in lines[0]
    assert len(lines) > len(TYPES) + 1
    assert max(map(len, lines[1:])) <= 100


def test_one_operator_tells_all_about_itself() -> None:
    text = call("operators", "ewma").stdout
    assert text.startswith(
        "ewma\n  merge      yes / in order\n  take back  yes / no\n  order      any / of arrival\n\n"
    )
    assert "Parameters: `value`" in text
    assert "2^(-(t - t_j) / half_life)" in text


def test_as_json() -> None:
    listed = json.loads(call("operators", "--json").stdout)
    assert [entry["type"] for entry in listed] == list(TYPES)
    ewma = json.loads(call("operators", "ewma", "--json").stdout)
    assert ewma in listed
    assert ewma["algebras"] == ["group", "ordered"]
    assert ewma["inputs"] == ["value"]
    assert ewma["options"]["value"] == {}
    assert ewma["options"]["adjust"] == {"default": True}
    assert ewma["summary"] == ewma["doc"].splitlines()[0]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    result = call("operators", "ewam")
    assert result.exit_code == 2
    assert 'did you mean "ewma"?' in result.stderr


@pytest.mark.parametrize(
    ("operator", "algebra", "said"),
    [
        ('"mean"', "group", "24 bytes a key, merges, takes back"),
        ('"max"', "monoid", ", merges\n"),
        ('"ewma", alpha = 0.1', "ordered", ", merges in order\n"),
        ('"ewma", half_life = "1m"', "group", ", merges, takes back\n"),
    ],
)
def test_describe_says_how_states_combine(operator: str, algebra: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text(
        '[app]\nname = "app"\n[streams.s]\ntopic = "t"\n[tables.t]\nstream = "s"\n'
        f'[tables.t.operators]\none = {{ type = {operator}, value = "x" }}\n'
    )
    assert said in call("describe", str(file)).stdout
    made = json.loads(call("describe", str(file), "--json").stdout)
    assert made["tables"]["t"]["operators"]["one"]["algebra"] == algebra
