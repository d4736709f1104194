"""Every test that the fault matrix of the documentation names exists, and no row is without one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent
MATRIX = (ROOT.parent / "docs" / "fault-matrix.md").read_text("utf-8")
ROWS = [line.split(" | ") for line in MATRIX.splitlines() if re.match(r"\| (\d+ )?\| \w", line)]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(MATRIX)
    assert MATRIX.count("::") == len(named) > 40
    for file, name in named:
        functions = [node.name for node in ast.parse((ROOT / file).read_text("utf-8")).body if hasattr(node, "name")]
        assert name in functions, f"{file} has no {name}"


def test_the_rows_are_all_there_and_each_names_a_test() -> None:
    numbers = [row[0].strip("| ") for row in ROWS if row[1] != "fault"]
    assert [number for number in numbers if number] == [str(number) for number in range(1, 24)]
    for row in ROWS:
        if row[1] != "fault":
            assert NAMED.search(row[-1]), row[1]


def test_what_is_not_shown_is_of_a_row_and_the_page_can_be_found() -> None:
    gaps = re.findall(r"^- \*\*(\d+)\*\*", MATRIX.partition("## What no test shows")[2], re.M)
    assert set(gaps) <= {str(number) for number in range(1, 24)}
    assert "(fault-matrix.md)" in (ROOT.parent / "docs" / "index.md").read_text("utf-8")
