"""The audit of the dependencies finds what would let something else in than what was looked at."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from scripts.audit import ROOT, installed_otherwise, locked_in, main, unlocked, unmet

HASH = f"--hash=sha256:{'0' * 64}"


def test_what_is_locked_here_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out
    assert "0 problems" in capsys.readouterr().out


def test_every_package_of_the_lock_is_seen() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    locked = locked_in(lock)
    assert sum(map(len, locked.values())) == len(re.findall("^[a-z]", lock, re.MULTILINE))
    assert {"aiokafka", "faust-streaming", "kafka-python", "numpy"} <= locked.keys()


def test_the_fuzzer_which_is_installed_apart_is_locked_too() -> None:
    lock = (ROOT / "tests/fuzz/requirements.lock").read_text("utf-8")
    assert list(unlocked(lock)) == []
    assert locked_in(lock).keys() == {"atheris"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"numpy>=2 {HASH}", "numpy: not one version, but >=2"),
        (f"numpy {HASH}", "numpy: not one version, but any"),
        (f"numpy==2.* {HASH}", "numpy: not one version"),
        ("numpy==2.2.0", "numpy: no hash"),
        ("numpy==2.2.0 --hash=md5:00", "numpy: a hash that is no SHA-256"),
        ("numpy==2.2.0 --hash=sha256:12", "numpy: a hash that is no SHA-256"),
        (f"numpy @ file:///numpy.whl {HASH}", "numpy: comes from file:///numpy.whl"),
        (f"git+ssh://somewhere/numpy {HASH}", "not a name with a version"),
        ("--extra-index-url somewhere", "not a name with a version"),
        (f"-e . {HASH}", "not a name with a version"),
    ],
)
def test_a_line_that_leaves_a_choice(line: str, said: str) -> None:
    (found,) = unlocked(f"# a comment\n{line}\n    # via somebody\n")
    assert said in found


def test_a_line_that_leaves_none() -> None:
    assert (
        list(unlocked(f"numpy==2.2.0 ; python_version < '3.13' \\\n    {HASH} \\\n    {HASH}\n    # via river\n")) == []
    )


def test_what_is_declared_has_to_be_locked_so() -> None:
    project = {"project": {"dependencies": ["numpy>=2,<3"], "optional-dependencies": {"dev": ["pytest>=8"]}}}
    assert list(unmet(project, locked_in("numpy==2.2.0\npytest==8.4.0"))) == []
    assert list(unmet(project, locked_in("numpy==3.0.0"))) == [
        "numpy: locked at 3.0.0, declared as <3,>=2",
        "pytest: declared, but not locked",
    ]


def test_what_is_installed_has_to_be_what_is_locked_for_this_python() -> None:
    here, elsewhere = "python_version >= '3'", "python_version < '3'"
    other = f"numpy==0.0.1 ; {elsewhere}"
    assert list(installed_otherwise(locked_in(f"numpy=={version('numpy')} ; {here}\n{other}"))) == []
    (found,) = installed_otherwise(locked_in(f"numpy==0.0.2 ; {here}\n{other}"))
    assert found.endswith("is installed, ==0.0.2 is locked")
