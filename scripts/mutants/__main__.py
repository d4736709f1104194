"""The command behind `make mutants`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from scripts.mutants.measured import Tests
from scripts.mutants.mutating import Mutant, sample
from scripts.mutants.report import Outcome, Reasons, Result, page, reasons, unexplained
from scripts.mutants.running import Try, run, warm_up

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")


@click.command()
@click.argument("files", nargs=-1)
@click.option(
    "--tests",
    default="tests/operators tests/core/test_state.py tests/core/test_lifetime.py tests/test_reference.py",
    show_default=True,
    help="Where the tests of these files are.",
)
@click.option("--select", default="", help="Which of them, as for pytest's -k; the rest are known from earlier runs.")
@click.option("--per-file", default=6, show_default=True, help="Mutants of each file.")
@click.option("--seed", default=1, show_default=True, help="Draws them.")
@click.option(
    "--budget",
    default=30.0,
    show_default=True,
    help="Seconds of tests for each mutant.",
)
@click.option("--report", default="docs/mutants.md", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--explained", default="scripts/mutants/explained.toml", show_default=True, type=click.Path(path_type=Path)
)
def main(
    *,
    files: Sequence[str],
    tests: str,
    select: str,
    per_file: int,
    seed: int,
    budget: float,
    report: Path,
    explained: Path,
) -> None:
    """Change FILES (those of operators/ if none are named) one thing at a time, and list what no test notices.

    Works on a copy. What was killed or is explained is not tried again until its file changes. Ends with 1 if a
    survivor has no explanation.
    """
    if absent := [folder for folder in tests.split() if not Path(folder).exists()]:
        raise click.BadParameter(f"there is no {' and no '.join(absent)}", param_hint="--tests")
    store, report, explained = Path(".mutants").absolute(), report.absolute(), explained.absolute()
    why = reasons(explained)
    with _copy():
        chosen = [Path(file) for file in files] or sorted(Path("operators").rglob("*.py"))
        texts = {str(path): path.read_text("utf-8") for path in chosen}
        warm_up(tests.split())
        measured = Tests(store / "tests.json")
        ours = [path for path in Path().rglob("*.py") if path.parts[0] not in {"tests", "scripts"}]
        measured.measure(tests.split(), select, ours)
        results = Results(store / "results.json")
        drawn = [mutant for file, text in texts.items() for mutant in sample(file, text, per_file, seed)]
        due = [mutant for mutant in drawn if not results.settles(mutant, texts[mutant.file], why)]
        for number, mutant in enumerate(due, 1):
            started = time.monotonic()
            result = results.add(mutant, texts[mutant.file], measured.of(mutant, budget))
            took = f"{result.outcome} after {time.monotonic() - started:.1f} s ({result.tests} tests chosen)"
            click.echo(f"{number}/{len(due)} {mutant.file}:{mutant.line} {mutant.function}: {took}")
            if result.outcome == "survived":
                click.echo(f"  - {mutant.before}\n  + {mutant.after}")
        found = results.current()
    report.write_text(page(found, why), "utf-8")
    if missing := unexplained(found, why):
        click.echo(f"{len(missing)} survivors have no explanation: see {report}", err=True)
        sys.exit(1)


class Results:
    """What became of all mutants that were tried, kept in a file from one run to the next."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.by_name: dict[str, Result] = {}
        if store.exists():
            self.by_name = {name: Result(**result) for name, result in json.loads(store.read_text("utf-8")).items()}

    def settles(self, mutant: Mutant, original: str, why: Reasons) -> bool:
        """Whether it was killed, or has survived and is explained, when its file was as it is."""
        known = self.by_name.get(mutant.name)
        return known is not None and known.digest == _digest(original) and not unexplained([known], why)

    def add(self, mutant: Mutant, original: str, tests: Mapping[str, float]) -> Result:
        """Try it."""
        file = Path(mutant.file)
        file.write_text(mutant.source, "utf-8")
        killed = bool(tests) and run({name.split("::")[0] for name in tests}, Try(tests)) != 0
        file.write_text(original, "utf-8")
        outcome: Outcome = "killed" if killed else "survived"
        place = mutant.file, mutant.line, mutant.function, mutant.before, mutant.after
        self.by_name[mutant.name] = result = Result(*place, outcome, len(tests), _digest(original))
        self.store.write_text(json.dumps({name: asdict(each) for name, each in self.by_name.items()}), "utf-8")
        return result

    def current(self) -> list[Result]:
        """Those of files as they are now."""
        texts = {result.file: Path(result.file) for result in self.by_name.values()}
        now = {file: _digest(path.read_text("utf-8")) for file, path in texts.items() if path.exists()}
        return [result for result in self.by_name.values() if result.digest == now.get(result.file)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _copy() -> Iterator[None]:
    """A copy of the tree as the folder to work in, and to import from."""
    original = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        shutil.copytree(".", folder, dirs_exist_ok=True, ignore=_LEFT_OUT)
        os.chdir(folder)
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        try:
            yield
        finally:
            sys.path.remove(folder)
            os.chdir(original)


if __name__ == "__main__":
    main()
