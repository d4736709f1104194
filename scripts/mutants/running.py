"""Tests run in processes that are forked off this one: the libraries that they need are imported once."""

from __future__ import annotations

import ast
import builtins
import contextlib
import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import ClassVar

import hypothesis
import pytest

from scripts.mutants.mutating import definitions

_OPTIONS = ["-q", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
_NOTE = "_note_that_it_runs_"
_MARK = f"import builtins; getattr(builtins, {_NOTE!r}, id)({{!r}})"
_TIMES, _SPARE_SECONDS = 5, 15
"""A test may take this many times as long as on the original, and some seconds more: it may wait for nothing."""
MOST_BYTES = 4 << 30
"""What the process of a mutant may allocate."""


class _Plugin:
    """Hypothesis with the same examples each time, and no search for a smaller one once a test has failed."""

    options: ClassVar[list[str]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Before the tests are imported: their own settings start from these."""
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        usual = hypothesis.settings.get_profile("default")
        hypothesis.settings.register_profile("mutants", usual, derandomize=True, database=None, phases=phases)
        hypothesis.settings.load_profile("mutants")


class Measure(_Plugin):
    """Runs the tests that are not known yet, and writes down how long those take that pass, and what each runs.

    The sources are :func:`marked`. What runs before any test does is written down as that of the test "".
    """

    def __init__(self, known: Collection[str], output: Path) -> None:
        self.known, self.output = known, output
        self.ran: set[str] = set()
        self.found: dict[str, tuple[float, list[str]]] = {}

    def pytest_collection(self) -> None:
        """Begin to note what is run."""
        setattr(builtins, _NOTE, self.ran.add)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the unknown ones."""
        self.found[""] = 0.0, sorted(self.ran)
        items[:] = [item for item in items if item.nodeid not in self.known]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, bool, bool]:
        """Time a test, and note what it runs."""
        self.ran.clear()
        started, failed = time.monotonic(), item.session.testsfailed
        handled = yield
        if item.session.testsfailed == failed:
            self.found[item.nodeid] = time.monotonic() - started, sorted(self.ran)
        sys.stderr.write(f"\r{len(self.found) - 1} of {len(item.session.items)} tests measured")
        return handled

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write it down."""
        sys.stderr.write(f", {session.testsfailed} failed\n" if len(self.found) > 1 else "")
        self.output.write_text(json.dumps(self.found), "utf-8")


def marked(file: str, source: str) -> str:
    """A source file whose functions note that they are run."""
    tree = ast.parse(source)
    for name, function in definitions(tree):
        has_docstring = ast.get_docstring(function) is not None
        function.body[has_docstring:has_docstring] = ast.parse(_MARK.format(f"{file}::{name}")).body
    return ast.unparse(tree)


class Try(_Plugin):
    """Runs some tests in their order until one fails; one that goes on and on ends the process."""

    options: ClassVar[list[str]] = ["-x"]

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection(self) -> None:
        """Set the end of what allocates without end; a process that is ended leaves no dump."""
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the chosen ones."""
        order = {name: number for number, name in enumerate(self.seconds)}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
        gc.freeze()  # the tests collect garbage after each of them: of what they make, not of all that was imported

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, bool, bool]:
        """Set the end of a test that does not end."""
        end = threading.Timer(_TIMES * self.seconds[item.nodeid] + _SPARE_SECONDS, os._exit, [1])
        end.daemon = True
        end.start()
        try:
            return (yield)
        finally:
            end.cancel()


def warm_up(tests: Collection[str]) -> None:
    """Import all that the tests import, and forget what belongs to the project."""
    with _silence():
        pytest.main(["--collect-only", *_OPTIONS, *tests])
    here = str(Path.cwd())
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "scripts" and (getattr(module, "__file__", None) or "").startswith(here):
            del sys.modules[name]


def run(tests: Collection[str], plugin: Measure | Try) -> int:
    """Run tests in a process of their own: pytest's exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.dont_write_bytecode = isinstance(plugin, Try)
            with _silence():
                code = pytest.main([*plugin.options, *_OPTIONS, *tests], plugins=[plugin])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def _silence() -> Generator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        yield
