"""What became of the mutants, as a page."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from scripts.markdown import table

Outcome = Literal["killed", "survived"]


@dataclass(frozen=True)
class Result:
    """A mutant by its parts, what became of it, and of which text of its file."""

    file: str
    line: int
    function: str
    before: str
    after: str
    outcome: Outcome
    tests: int
    digest: str


Reasons = dict[tuple[str, str, str], str]
"""Why a change of a line of a file makes no difference, by file, line before, and line after."""


def reasons(path: Path) -> Reasons:
    """What ``explained.toml`` says."""
    entries = tomllib.loads(path.read_text("utf-8")).get("survivor", []) if path.exists() else []
    return {(entry["file"], entry["before"], entry["after"]): entry["why"] for entry in entries}


def unexplained(results: Collection[Result], why: Reasons) -> list[Result]:
    """The survivors that nobody has explained."""
    return [result for result in results if result.outcome == "survived" and _name(result) not in why]


def page(results: Collection[Result], why: Reasons) -> str:
    """The report in Markdown."""
    ordered = sorted(results, key=lambda result: (result.file, result.line))
    folders = groupby(ordered, key=lambda result: Path(result.file).parts[0])
    return "\n\n".join([_INTRODUCTION, *(_section(folder, list(group), why) for folder, group in folders)]) + "\n"


def _section(folder: str, results: Sequence[Result], why: Reasons) -> str:
    files = {file: list(group) for file, group in groupby(results, key=lambda result: result.file)}
    rows = [_row(f"`{file}`", group, why) for file, group in files.items()] + [_row("**all**", results, why)]
    head = ("File", "Mutants", "Killed", "Survived", "Of these explained")
    parts = [f"## `{folder}`", table(head, rows)]
    for file, group in files.items():
        if survivors := [result for result in group if result.outcome == "survived"]:
            parts += [f"### `{file}`", *(_shown(result, why) for result in survivors)]
    return "\n\n".join(parts)


def _row(name: str, results: Sequence[Result], why: Reasons) -> list[str]:
    survived = [result for result in results if result.outcome == "survived"]
    explained = len(survived) - len(unexplained(survived, why))
    return [name, *map(str, (len(results), len(results) - len(survived), len(survived), explained))]


def _shown(result: Result, why: Reasons) -> str:
    diff = [
        f"{sign} {line}"
        for sign, text in zip("-+", (result.before, result.after), strict=True)
        for line in text.splitlines()
    ]
    place = f"Line {result.line}" + (f", `{result.function}`" if result.function else "")
    reason = why.get(_name(result), "**No explanation.**")
    return "\n".join([f"{place}; tests that passed: {result.tests}", "", "```diff", *diff, "```", "", reason])


def _name(result: Result) -> tuple[str, str, str]:
    return result.file, result.before, result.after


_INTRODUCTION = """\
# Mutants that survive

Made by `make mutants` (the operators) and `make mutants-commit` (what commits and restores): they change one thing of a
source file at a time, and run the tests that run the changed function, as long as a bound allows. A mutant that fails
one of them is killed. A change that no test notices is listed here with the reason why it makes no difference; the
reasons are kept in `scripts/mutants/explained.toml`. The mutants are a random sample of each file; texts of errors,
type annotations and docstrings are left alone."""
