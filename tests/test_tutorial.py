"""The tutorial: its commands, as they are written, bring the averages of any file; what it shows is what comes."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import click
import pytest

from pipeline.cli.updates import Columns
from pipeline.core.config.load import load
from pipeline.core.written import read_events
from pipeline.edges.broker.ports import free_port
from pipeline.edges.kafka.subscribe import Update
from tests.cli.pipelines import Pipeline
from tests.folded import folded
from tests.test_readme import blocks

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial.md"


def section(number: int) -> str:
    (text,) = re.findall(rf"^## {number}\. .*?(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(text)


def within(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder in which `.venv/bin/streamfold` is this code's command, as `make demo` leaves it."""
    command = tmp_path / ".venv" / "bin" / "streamfold"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom pipeline.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more}


@contextmanager
def going_on(command: str, folder: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until Ctrl-C, which ends it well."""
    with subprocess.Popen(shlex.split(command), cwd=folder, env=variables, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=60)
            assert child.returncode == 0
        finally:
            child.kill()


def await_ready(page: str, child: subprocess.Popen[str]) -> None:
    while True:
        assert child.poll() is None, "it ended"
        try:
            with urlopen(f"{page}/readyz", timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)


TANKS = ("Tank 1", "Tank 2", "Überlauf")
LEVELS = [(TANKS[number % 3], 1_763_690_000_123 + 1_000 * number, (number * 37 % 101) / 8) for number in range(150)]


def averages() -> dict[str, list[tuple[float, float]]]:
    """By tank, the mean and the mean of the last 20 after each of its readings."""
    levels, means = defaultdict[str, list[float]](list), defaultdict[str, list[tuple[float, float]]](list)
    for tank, _, level in LEVELS:
        past = levels[tank]
        past.append(level)
        newest = past[-20:]
        means[tank].append((sum(past) / len(past), sum(newest) / len(newest)))
    return means


def test_four_commands_bring_the_averages_of_ones_own_file(clone: Path) -> None:
    rows = "".join(f'"{tank}";{moment};{level};\n' for tank, moment, level in LEVELS)
    (clone / "my.csv").write_text(f"\ufefftank;timestamp;Level (m);remark\n{rows}", "utf-8")
    commands = [line for block in within(section(2), "sh") for line in block.splitlines()]
    assert len(commands) <= 4
    init, run, send, watch = commands
    port = free_port("127.0.0.1")
    address = f"127.0.0.1:{port}"
    variables = environment(KAFKA=f"127.0.0.1:{free_port('127.0.0.1', port)}", HTTP=address)
    subprocess.run(shlex.split(init), cwd=clone, env=variables, check=True, timeout=60)
    with going_on(run, clone, variables) as worker:
        await_ready(f"http://{address}", worker)
        subprocess.run(shlex.split(send), cwd=clone, env=variables, check=True, timeout=60)
        with going_on(watch, clone, variables) as watcher:
            assert watcher.stdout is not None
            results = [json.loads(watcher.stdout.readline()) for _ in LEVELS]
    found = defaultdict[str, list[tuple[float, float]]](list)
    for result in results:
        found[result["key"]].append((result["Level_m_mean"], result["Level_m_last_20"]))
    assert found.keys() == averages().keys()
    for tank, means in averages().items():
        assert found[tank] == [pytest.approx(mean, rel=1e-12) for mean in means]
    assert results[-1]["time"] in [moment / 1000 for _, moment, _ in LEVELS[-3:]]


def on_a_terminal(command: str, answers: list[str], folder: Path) -> str:
    """What it shows on a terminal where this is typed, but for what is typed."""
    screen, terminal = pty.openpty()
    attributes = termios.tcgetattr(terminal)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    os.write(screen, "".join(f"{answer}\n" for answer in answers).encode())
    variables = environment(TERM="xterm")
    words = shlex.split(command)
    subprocess.run(
        words, cwd=folder, env=variables, stdin=terminal, stdout=terminal, stderr=terminal, check=True, timeout=60
    )
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    return shown.replace("\r\n", "\n")


def test_the_questions_and_the_averages_are_those_that_are_shown(clone: Path) -> None:
    (data,) = blocks(PAGE, "csv")
    (clone / "my.csv").write_text(data)
    transcript, table = within(section(3), "text")
    command, _, shown = transcript.removeprefix("$ ").partition("\n")
    answers = re.findall(r"\]:(?: (.*))?\n", shown)
    assert len(answers) == 4
    assert on_a_terminal(command, answers, clone) == re.sub(r"\]:.*\n", "]: ", shown)
    app = load(clone / "my.toml", {})
    done = folded(app, "events", read_events("my.csv", data.encode().splitlines(keepends=True)))
    columns = Columns()
    lines = [columns.lines(Update(key or b"", value, 0, 0)) for key, value in done.published["my-averages"]]
    assert click.unstyle("\n".join(lines)) == table.strip()


def asked() -> tuple[list[str], dict[str, Any]]:
    """The command of section 4 that asks, and what it is shown to answer."""
    query = next(line for line in within(section(4), "sh")[0].splitlines() if line.startswith("streamfold query "))
    (shown,) = within(section(4), "text")
    answer = {name: json.loads(value) for name, value in (line.split(maxsplit=1) for line in shown.splitlines())}
    return shlex.split(query), answer


def close(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value, rel=1e-9) for name, value in answer.items()}


def test_the_memory_answers_as_shown_and_a_program_reads_the_results(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    (data,), (config,), (program,) = (blocks(PAGE, language) for language in ("csv", "toml", "python"))
    (tmp_path / "my.csv").write_text(data)
    places = f'name = "{topic_prefix}"\nbrokers = "{kafka}"\nhttp = "127.0.0.1:{free_port("127.0.0.1")}"'
    file = tmp_path / "my.toml"
    file.write_text(config.replace('name = "my-2"', places).replace("my-events", f"{topic_prefix}-events"))
    pipeline = Pipeline(file)
    assert pipeline.run("send", "events", str(tmp_path / "my.csv")).returncode == 0
    (_, verb, _, *arguments), expected = asked()
    with pipeline.working():
        assert pipeline.run("watch", "averages", "--from-start", "--limit", "7").returncode == 0
        found = pipeline.run(verb, *arguments, "--json")
    assert json.loads(found.stdout) == close(expected)
    program = program.replace("my-2-averages", f"{topic_prefix}-averages").replace("localhost:9092", kafka)
    script = tmp_path / "results.py"
    script.write_text(program)
    with subprocess.Popen([sys.executable, "-u", str(script)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        printed = [child.stdout.readline() for _ in range(7)]
        child.kill()
    assert sum("'key': 'left'" in line for line in printed) == 4
