"""A Dockerfile's steps, done outside a container: a folder stands for the root of the image.

What needs a container is left out: the base image (its Python is this one), its users, and that only the root is seen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """``name`` in capitals, ``text`` on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Of the form in JSON."""
        words: list[str] = json.loads(self.text[self.text.index("[") :])
        return words


def stages(dockerfile: Path) -> list[list[Instruction]]:
    """Each stage from its FROM on."""
    lines = [line for line in dockerfile.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    found: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, text = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, " ".join(text.split())))
    return found


def allowed(context: Path) -> list[str]:
    """What of a build's context is sent: the paths that .dockerignore takes back from everything."""
    first, *lines = (context / ".dockerignore").read_text("utf-8").split()
    assert first == "*", "what is sent is named, not what is left out"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


@dataclass
class Image:
    """What the stages leave in ``root``, and what the last of them says of a container.

    ``quick`` goes over the environment of the steps.
    """

    root: Path
    context: Path
    quick: Mapping[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    _folder: str = "/"
    _before: Path = Path()

    def build(self, dockerfile: Path) -> None:
        """Do all steps. Raises CalledProcessError, with what it said, if one fails."""
        for stage in stages(dockerfile):
            self._begin()
            for instruction in stage[1:]:
                self._do(instruction)

    def here(self, text: str) -> str:
        """A command line or a value with its absolute paths below the root."""
        return re.sub(r"(?<![\w.:/*-])/(?=[a-z]|$)", f"{self.root}/", text)

    def run(self, command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the image to its end; an absolute path is one of the image."""
        words = [self.here(word) for word in command]
        env = {**os.environ, **self.environment, **environment}
        # The program is looked up as the container would, not as this process does.
        words[0] = shutil.which(words[0], path=env["PATH"]) or words[0]
        return subprocess.run(words, cwd=self.root, env=env, capture_output=True, text=True, check=False, timeout=120)

    def _begin(self) -> None:
        """Another stage has the same root, and of the one before what it copies."""
        if self.root.exists():
            self._before = self.root.with_name(f"{self.root.name}-before")
            self.root.rename(self._before)
        self.root.mkdir(parents=True)
        self.environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
        self._folder = "/"

    def _do(self, instruction: Instruction) -> None:
        name, text = instruction.name, instruction.text
        if name == "ENV":
            for variable, value in (pair.split("=", 1) for pair in text.split()):
                self.environment[variable] = self.here(value).replace("$PATH", self.environment["PATH"])
        elif name == "WORKDIR":
            self._folder = text
            Path(self.here(text)).mkdir(parents=True)
        elif name == "COPY":
            self._copy(text.split())
        elif name == "RUN":
            self._run(text)
        elif name == "ENTRYPOINT":
            self.entrypoint = instruction.words
        elif name == "CMD":
            self.command = instruction.words
        elif name == "HEALTHCHECK":
            self.health = instruction.words
        else:
            assert name in {"LABEL", "USER", "EXPOSE", "STOPSIGNAL"}, f"{name} is not known here"

    def _copy(self, words: Sequence[str]) -> None:
        *sources, target = words
        into = Path(self.here(target if target.startswith("/") else f"{self._folder}/{target}"))
        if sources[0].startswith("--from="):
            (source,) = sources[1:]
            into.parent.mkdir(parents=True, exist_ok=True)
            (self._before / source.removeprefix("/")).rename(into)
            return
        for source in sources:
            assert any(Path(source).is_relative_to(path) for path in allowed(self.context)), f"{source} is not sent"
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.context / source, into)

    def _run(self, script: str) -> None:
        if re.fullmatch(r"(groupadd|useradd)\b[^&]*(&& useradd\b[^&]*)?", script):
            return  # the users of this machine are none of ours
        environment = {**os.environ, **self.environment, **self.quick}
        subprocess.run(
            ["sh", "-ec", self.here(script)],
            cwd=self.here(self._folder),
            env=environment,
            check=True,
            timeout=300,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
