"""`streamfold query` asks one worker, which answers for all, and says what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from tests.cli.workers import Pages, serving
from tests.kafka.process import CONFIG, free_ports


class Worker(Pages):
    """Answers everything alike."""

    status, body = 200, b"{}"

    def answer(self, path: str, token: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        return self.status, self.body


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    port = free_ports()
    Path(tmp_path, "pipeline.toml").write_text(CONFIG.format(name="query", brokers="localhost:1", port=port), "utf-8")
    worker = Worker("query-player")
    with serving(worker, port):
        yield worker


def query(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["query", str(folder / "pipeline.toml"), *arguments])


def test_one_question_is_enough(worker: Worker, tmp_path: Path) -> None:
    worker.body = json.dumps({"key": "b/c", "average": 3.0}).encode()
    done = query(tmp_path, "player", "b/c", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"key": "b/c", "average": 3.0})
    assert worker.asked == ["/tables/player/b%2Fc"]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (503, 1, "restoring: 1234 records to go"),
        (421, 1, "restoring: 1234 records to go"),
        (404, 1, "restoring: 1234 records to go"),
        (414, 2, "restoring: 1234 records to go"),
        (401, 2, "another token"),
    ],
)
def test_what_it_cannot_tell_is_said_with_the_mend(
    worker: Worker, tmp_path: Path, status: int, code: int, said: str
) -> None:
    worker.status = status
    worker.body = json.dumps({"error": "partition 2 restoring: 1234 records to go", "mend": "ask again"}).encode()
    done = query(tmp_path, "player", "ada")
    assert done.exit_code == code
    assert said in done.stderr
    assert status == 401 or "ask again" in done.stderr
    assert len(worker.asked) == 1


def test_what_listens_there_may_be_something_else(worker: Worker, tmp_path: Path) -> None:
    worker.body = b"<html>"
    done = query(tmp_path, "player", "ada")
    assert done.exit_code == 1
    assert "no streamfold worker" in done.stderr
