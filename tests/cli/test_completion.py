"""What the shell proposes when the tabulator is pressed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from operators import TYPES
from pipeline.cli import main
from pipeline.cli.completion import SHELLS
from pipeline.cli.main import COMMANDS
from tests.cli.workers import Pages, serving
from tests.kafka.process import free_ports

CONFIG = """
[app]
name = "arcade"
http = "127.0.0.1:{port}"
[streams.scores]
topic = "game-scores"
[streams.machine]
topic = "machine-telemetry"
[tables.player]
stream = "scores"
[tables.player.operators]
games = {{ type = "count" }}
average = {{ type = "mean", value = "score" }}
[tables.machine]
stream = "machine"
[tables.machine.operators]
power = {{ type = "mean", value = "power" }}
"""


@pytest.fixture
def port() -> int:
    return free_ports()


@pytest.fixture
def file(tmp_path: Path, port: int) -> str:
    path = tmp_path / "arcade.toml"
    path.write_text(CONFIG.format(port=port), "utf-8")
    return str(path)


def proposed(*words: str) -> list[str]:
    """For the last word, after the others."""
    *args, incomplete = words
    completions = ShellComplete(main, {}, "streamfold", "_STREAMFOLD_COMPLETE").get_completions(args, incomplete)
    return [item.value for item in completions]


def test_commands_by_their_beginning_and_with_what_they_do() -> None:
    assert proposed("") == list(COMMANDS)
    assert proposed("re") == ["reset", "replay"]
    (item,) = ShellComplete(main, {}, "streamfold", "_STREAMFOLD_COMPLETE").get_completions([], "sch")
    assert item.help == COMMANDS["schema"]


def test_file_is_a_file() -> None:
    completions = ShellComplete(main, {}, "streamfold", "_STREAMFOLD_COMPLETE").get_completions(["run"], "ar")
    assert [(item.value, item.type) for item in completions] == [("ar", "file")]


def test_names_come_from_the_file(file: str) -> None:
    assert proposed("send", file, "") == ["scores", "machine"]
    assert proposed("watch", file, "pl") == ["player"]
    assert proposed("query", file, "") == ["player", "machine"]
    assert proposed("query", file, "player", "ada", "--operator", "") == ["games", "average"]
    assert proposed("query", file, "machine", "m", "--operator", "p") == ["power"]
    assert proposed("replay", file, "--table", "m") == ["machine"]
    assert proposed("operators", "kv_m") == [name for name in TYPES if name.startswith("kv_m")]
    assert proposed("describe", file, "--format", "m") == ["mermaid"]
    assert "--interval" in proposed("top", file, "--i")


def test_keys_come_from_a_worker(file: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages("arcade-player")

    def answer(path: str, token: str | None) -> tuple[int, bytes]:
        pages.asked.append(path)
        return 200, json.dumps({"keys": ["ada/1", "ada/2"]}).encode()

    monkeypatch.setattr(pages, "answer", answer)
    with serving(pages, port):
        assert proposed("query", file, "player", "ada/") == ["ada/1", "ada/2"]
        assert proposed("watch", file, "player", "--key", "ada/2") == ["ada/2"]
    assert pages.asked == [f"/tables/player?prefix={prefix}&limit=50" for prefix in ("ada%2F", "ada%2F2")]


def test_what_cannot_be_known_is_not_proposed_and_no_error(file: str, tmp_path: Path) -> None:
    assert proposed("query", file, "player", "a") == []  # no worker
    assert proposed("query", file, "nobody", "a") == []
    assert proposed("query", file, "nobody", "a", "--operator", "") == []
    Path(file).write_text("[app", "utf-8")
    assert proposed("watch", file, "") == []
    assert proposed("send", str(tmp_path / "no.toml"), "") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_its_script_and_a_line_that_switches_it_on(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.stderr
    assert f"_STREAMFOLD_COMPLETE={shell}_complete" in done.stdout
    assert done.stdout.splitlines()[-1] == f"# {SHELLS[shell]}"
    assert SHELLS[shell] in CliRunner().invoke(main, ["completion", "--help"]).stdout


def test_bash_takes_the_script_and_completes_by_it(file: str) -> None:
    streamfold = Path(file).parent / "streamfold"
    streamfold.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipeline.cli "$@"\n')
    streamfold.chmod(0o755)
    script = f"""
        eval "$({streamfold} completion bash)"
        complete -p streamfold
        COMP_WORDS=(streamfold watch {file} pl) COMP_CWORD=3
        _streamfold_completion "{streamfold}"
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["complete -o nosort -F _streamfold_completion streamfold", "player"], done
