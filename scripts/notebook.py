"""Runs the example notebook on an embedded Kafka, and keeps what its cells give: `make notebook`.

The notebook is read from ``examples/weather.ipynb`` and written back; Jupyter is not needed.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline import read_table
from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.broker.ports import free_port
from pipeline.edges.process import Worker
from pipeline.errors import KafkaStateError

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "weather.ipynb"
READINGS = 3_296
_SECONDS = 120.0


@contextmanager
def folded(brokers: str, config: Path) -> Iterator[None]:
    """Within it the configuration means this broker, and all readings of the weather have gone through its tables."""
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    with patch.dict(os.environ, KAFKA=brokers, HTTP=address), tempfile.TemporaryDirectory() as folder:
        send = [sys.executable, "-m", "pipeline.cli", "send", str(config), "readings", str(EXAMPLES / "weather.csv")]
        subprocess.run(send, check=True, stdout=subprocess.DEVNULL, timeout=_SECONDS)
        with Worker(config, os.environ, Path(folder)) as worker:
            worker.await_ready(f"http://{address}", _SECONDS)
            deadline = time.monotonic() + _SECONDS
            while not all(_count(config, table) == READINGS for table in ("station", "daily")):
                assert time.monotonic() < deadline, "the readings are not folded in time"
                worker.check()
                time.sleep(0.2)
            worker.stop()
        yield


def _count(config: Path, table: str) -> int:
    """How many readings are in the results of a table."""
    try:
        frame = read_table(config, table)
    except KafkaStateError:
        return 0
    return int(frame.columns["readings"].sum()) if len(frame) else 0


def execute(notebook: dict[str, Any], folder: Path) -> None:
    """Run the code cells, one after the other, in this folder, and put what they give in their place."""
    names: dict[str, Any] = {}
    number = 0
    with chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                number += 1
                cell["execution_count"] = number
                cell["outputs"] = _run("".join(cell["source"]), names, number)


def _run(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell prints, and the value of its last line."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(StringIO()) as printed:
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = _lines(value._repr_html_())
        outputs.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Run it, and write it back."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    with EmbeddedKafka() as kafka, folded(kafka.address, EXAMPLES / "weather.toml"):
        execute(notebook, EXAMPLES)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
