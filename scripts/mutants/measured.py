"""Which tests run which functions, and how long they take."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.mutants.mutating import Mutant
from scripts.mutants.running import Measure, marked, run


@dataclass(frozen=True)
class Test:
    """How many seconds a test takes, the functions that it runs, and the digest of the file that it is in."""

    seconds: float
    runs: list[str]
    digest: str


class Tests:
    """All tests of some folders as they were when last measured, kept in a file from one run to the next.

    The test "" is what runs before any test does.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        stored = json.loads(store.read_text("utf-8")) if store.exists() else {}
        self.known = {name: Test(**test) for name, test in stored.items()}
        self.folders: tuple[str, ...] = ()

    def measure(self, folders: Collection[str], select: str, sources: Collection[Path]) -> None:
        """Run those that are new, or whose file was changed; what fails on the original is left out."""
        self.folders = tuple(folders)
        known = {name: test for name, test in self.known.items() if name and test.digest == _digest(name)}
        texts = {path: path.read_text("utf-8") for path in sources}
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "found.json")
            for path, text in texts.items():
                path.write_text(marked(str(path), text), "utf-8")
            run([*folders, *(["-k", select] if select else [])], Measure(known, output))
            for path, text in texts.items():
                path.write_text(text, "utf-8")
            found = json.loads(output.read_text("utf-8"))
        self.known = known | {name: Test(seconds, runs, _digest(name)) for name, (seconds, runs) in found.items()}
        self.store.parent.mkdir(exist_ok=True)
        self.store.write_text(json.dumps({name: asdict(test) for name, test in self.known.items()}), "utf-8")

    def of(self, mutant: Mutant, budget: float) -> dict[str, float]:
        """Tests to run on a mutant, with their seconds, up to a budget of seconds.

        They are of the folders that were measured last, the quickest first: those that run the mutant's function, then
        those that run anything of its file; what runs once for many tests (a constant, a cached property) is noted
        with the first of them only. Where something of the file runs before any test does all others follow.
        """
        function, file = f"{mutant.file}::{mutant.function}", f"{mutant.file}::"

        def distance(test: Test) -> int:
            return 0 if function in test.runs else 1 if any(ran.startswith(file) for ran in test.runs) else 2

        farthest = 1 + (distance(self.known[""]) < 2)
        ranked = [
            (distance(test), test.seconds, name) for name, test in self.known.items() if name.startswith(self.folders)
        ]
        chosen: dict[str, float] = {}
        for far, seconds, name in sorted(ranked):
            budget -= seconds
            if far > farthest or (chosen and budget < 0):
                break
            chosen[name] = seconds
        return chosen


def _digest(test: str) -> str:
    path = Path(test.split("::", maxsplit=1)[0])
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""
