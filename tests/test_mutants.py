"""`make mutants` says of a change whether a test notices it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutants.mutating import sample

SOURCE = '''\
"""Sums."""


def seen(a: int, b: int | None = None) -> int:
    """The sum."""
    if b is None:
        raise ValueError("no" + "thing")
    return a + b


def unseen(a: int, b: int) -> int:
    """The sum."""
    return a + b


def not_run(a: int) -> int:
    """The opposite."""
    return -a
'''
TESTS = """\
import pytest
from sums import seen, unseen

def test_seen():
    assert seen(1, 2) == 3
    with pytest.raises(ValueError):
        seen(1)

def test_unseen():
    unseen(1, 2)
"""
EXPLAINED = """
[[survivor]]
file = "sums.py"
before = "{before}"
after = "{after}"
why = "Nobody looks."
"""
ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_sums.py").write_text(TESTS)
    (tmp_path / "sums.py").write_text(SOURCE)
    return tmp_path


def run(project: Path, tests: str = "tests") -> subprocess.CompletedProcess[str]:
    options = ["--tests", tests, "--report", "report.md", "--explained", "explained.toml"]
    command = [sys.executable, "-m", "scripts.mutants", "sums.py", *options]
    environment = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_a_survivor_is_what_no_test_notices(project: Path) -> None:
    first = run(project)
    assert first.returncode == 1, first.stderr
    assert "2 survivors have no explanation" in first.stderr
    assert "seen: killed" in first.stdout
    report = (project / "report.md").read_text()
    assert "| `sums.py` | 4 | 2 | 2 | 0 |" in report
    assert "Line 13, `unseen`; tests that passed: 2\n\n```diff\n- return a + b\n+ return a - b\n```\n" in report
    assert "Line 18, `not_run`; tests that passed: 2\n" in report
    assert (project / "sums.py").read_text() == SOURCE

    explained = [
        EXPLAINED.format(before="return a + b", after="return a - b"),
        EXPLAINED.format(before="return -a", after="return +a"),
    ]
    (project / "explained.toml").write_text("".join(explained))
    second = run(project)
    assert second.returncode == 0, second.stderr
    assert "seen: killed" not in second.stdout  # known from the first run
    assert "Nobody looks." in (project / "report.md").read_text()


def test_tests_that_are_not_there_are_told(project: Path) -> None:
    done = run(project, "tests tests/test_nothing.py")
    assert done.returncode == 2
    assert "there is no tests/test_nothing.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sample_is_drawn_by_its_seed() -> None:
    source = (ROOT / "operators" / "options.py").read_text("utf-8")
    drawn = [[mutant.name for mutant in sample("options.py", source, 5, seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    moved = sample("options.py", f"\n{source}", 5, 1)
    assert [mutant.name for mutant in moved] == drawn[0]


def test_annotations_and_errors_are_left_alone() -> None:
    assert {mutant.line for mutant in sample("sums.py", SOURCE, 100, 1)} == {6, 8, 13, 18}
