"""Records what commands show of a running pipeline, as pictures: `make recording`.

The games of the example go through an embedded Kafka meanwhile; the commands are those of a reader, on a terminal.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.process import Worker

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "images"
CONFIG = "examples/arcade.toml"

PICTURES: Mapping[str, Sequence[str]] = {
    "top.svg": [f"streamfold top {CONFIG} --interval 2s --count 4"],
    "query.svg": [
        f"streamfold watch {CONFIG} player --key ada --limit 8",
        f"streamfold query {CONFIG} style ada --operator memory --read '[0.9, 1.1, 0.2]'",
        f"streamfold query {CONFIG} player ada",
    ],
}
"""The commands whose output is in each picture."""

_LINES, _COLUMNS = 30, 124
_WARM_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0
_FRAME = "\x1b[H"
_LEAVES_SCREEN = "\x1b[?1049l"
_WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


@contextmanager
def playing() -> Iterator[Mapping[str, str]]:
    """Within it a worker folds games that go on and on; gives the environment for commands that ask it."""
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory() as folder:
        address = f"127.0.0.1:{free_port('127.0.0.1')}"
        environment = {**os.environ, "KAFKA": kafka.address, "HTTP": address, "PYTHONPATH": str(ROOT)}
        games = [sys.executable, "examples/games.py", "--rate", "400"]
        send = [sys.executable, "-m", "pipeline.cli", "send", CONFIG, "scores", "-"]
        with (
            subprocess.Popen(games, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as player,
            subprocess.Popen(send, cwd=ROOT, env=environment, stdin=player.stdout, stdout=subprocess.DEVNULL) as sender,
        ):
            try:
                with Worker(ROOT / CONFIG, environment, Path(folder)) as worker:
                    worker.await_ready(f"http://{address}", _PATIENCE_SECONDS)
                    time.sleep(_WARM_SECONDS)
                    yield environment
            finally:
                player.kill()
                sender.kill()


def shown(command: str, environment: Mapping[str, str]) -> str:
    """What it leaves on a terminal, with its colours."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    _, *arguments = shlex.split(command)
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        cwd=ROOT,
        env={**environment, "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
    ) as child:
        os.close(terminal)
        output = _read(screen)
    os.close(screen)
    assert child.returncode == 0, output
    return last_frame(output)


def _read(screen: int) -> str:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(screen, 65_536)
        except OSError:  # how Linux says that nobody has the terminal any more
            part = b""
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


def last_frame(output: str) -> str:
    """What is on the screen before it is left; all of it where nothing was ever drawn over."""
    return output.partition(_LEAVES_SCREEN)[0].rpartition(_FRAME)[2].replace("\r\n", "\n")


def picture(sessions: Sequence[tuple[str, str]]) -> str:
    """Commands, each with its output below it, as SVG that needs no font from elsewhere."""
    lines = Text("\n\n").join(_session(command, output) for command, output in sessions).split("\n")
    width = min(max(line.cell_len for line in lines), _COLUMNS)
    paper = Console(width=width, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        paper.print(line, no_wrap=True, overflow="ellipsis")
    return _WEB_FONT.sub("", paper.export_svg(title="streamfold", theme=MONOKAI))


def _session(command: str, output: str) -> Text:
    screen = Text.from_ansi(output)
    screen.rstrip()
    return Text("\n").join([Text.assemble(("$ ", "dim"), (command, "bold")), screen])


def main() -> None:
    """Record them all."""
    with playing() as environment:
        drawn = {
            name: picture([(command, shown(command, environment)) for command in commands])
            for name, commands in PICTURES.items()
        }
    for name, drawing in drawn.items():
        (FOLDER / name).write_text(drawing, "utf-8")


if __name__ == "__main__":
    main()
