"""`watch`: a subscriber's view of a table."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import click
import pytest

from pipeline.cli.updates import Columns, json_line
from pipeline.edges.kafka.subscribe import Update
from tests.cli.pipelines import Pipeline, games, pipeline_in


@pytest.fixture
def pipeline(tmp_path: Path, kafka: str, topic_prefix: str) -> Pipeline:
    return pipeline_in(tmp_path, kafka, topic_prefix)


@pytest.fixture
def folded(pipeline: Pipeline) -> Pipeline:
    """With twenty events folded: four of each of five players."""
    pipeline.send(games(20))
    with pipeline.working():
        done = pipeline.run("watch", "player", "--from-start", "--limit", "20")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 20
    return pipeline


def test_a_pipe_gets_the_records_as_they_were_published(folded: Pipeline) -> None:
    topic = folded.app.output(folded.app.tables["player"])
    done = folded.run("watch", "player", "--from-start", "--limit", "20", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    published = [record.value.decode() for record in folded.records(topic)]
    assert sorted(done.stdout.splitlines()) == sorted(published)


def test_one_key_in_order(folded: Pipeline) -> None:
    done = folded.run("watch", "player", "--from-start", "--key", "player-2", "--limit", "4")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["key"] for record in records] == ["player-2"] * 4
    assert [record["games"] for record in records] == [1, 2, 3, 4]
    assert [record["average"] for record in records] == [2, 4.5, 7, 9.5]


def test_it_begins_now_and_sees_only_what_is_committed(folded: Pipeline) -> None:
    value = b'{"key":"base64:/w==","time":0.5,"partition":0,"offset":%d,"games":1,"average":0.0}'
    number = 0
    with folded.started("watch", "player", "--limit", "3", "--key", "base64:/w==") as child:
        while child.poll() is None:  # until three of them came after its beginning
            folded.publish([(b"\xff", value % -1)], commit=False)
            folded.publish([(b"other", value % -2), (b"\xff", value % number)], commit=True)
            number += 1
        out, err = child.communicate()
    assert child.returncode == 0, err
    offsets = [json.loads(line)["offset"] for line in out.splitlines()]
    assert len(offsets) == 3
    assert offsets == list(range(offsets[0], offsets[0] + 3))


def test_an_interruption_is_a_good_end(folded: Pipeline) -> None:
    with folded.started("watch", "player", "--from-start") as child:
        assert child.stdout is not None
        for _ in range(20):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (0, "", "")


def test_a_reader_that_has_seen_enough_is_no_error(folded: Pipeline) -> None:
    with folded.started("watch", "player", "--from-start") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        folded.publish([(b"a", b"{}")] * 20, commit=True)
        assert child.wait(timeout=30) == 0
        assert child.stderr.read() == ""


def test_a_terminal_gets_columns(folded: Pipeline) -> None:
    def shown(**environment: str) -> list[str]:
        screen, terminal = pty.openpty()
        subprocess.run(
            folded.command("watch", "player", "--from-start", "--limit", "4", "--key", "player-2"),
            stdout=terminal,
            env=os.environ | {"LINES": "40", "COLUMNS": "100"} | environment,
            check=True,
            timeout=60,
        )
        os.close(terminal)
        lines = os.read(screen, 100_000).decode().splitlines()
        os.close(screen)
        return lines

    coloured, plain = shown(NO_COLOR=""), shown(NO_COLOR="1")
    assert [click.unstyle(line) for line in coloured] == plain
    assert coloured[0].startswith("\x1b[1mkey ")
    assert all(line.startswith("\x1b[36mplayer-2 ") for line in coloured[1:])
    assert plain[0].split() == ["key", "time", "games", "average"]
    assert [line.split() for line in plain[1:]] == [
        ["player-2", "2023-11-14", "22:13:22.000", "1", "2"],
        ["player-2", "2023-11-14", "22:13:27.000", "2", "4.5"],
        ["player-2", "2023-11-14", "22:13:32.000", "3", "7"],
        ["player-2", "2023-11-14", "22:13:37.000", "4", "9.5"],
    ]


def test_wrong_names_and_missing_topics(pipeline: Pipeline) -> None:
    unknown = pipeline.run("watch", "players")
    assert unknown.returncode == 2
    assert 'unknown table "players", expected "player"; did you mean "player"?' in unknown.stderr
    missing = pipeline.run("watch", "player")
    assert missing.returncode == 3
    assert f"topic {pipeline.app.name}-player does not exist" in missing.stderr
    assert "streamfold run" in missing.stderr


def test_a_deleted_key_is_said_to_be_deleted() -> None:
    update = Update(b"\xff", None, 2, 7)
    assert json.loads(json_line(update)) == {"key": "base64:/w==", "partition": 2, "deleted": True}
    assert click.unstyle(Columns().lines(update)) == "base64:/w== deleted"


def test_columns_stay_aligned_and_nothing_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "6")
    columns = Columns()
    lines: list[str] = []
    for number in range(6):
        record = {
            "key": "k" * (number + 10),
            "time": 1e18 if number == 1 else number,
            "partition": 0,
            "offset": number,
            "average": None if number == 2 else 1 / 3,
            "vector": [1 / 3] * number,
            "memory": {"mu": [[0.1] * 30], "nu": [2]},
        }
        lines += columns.lines(Update(b"k", json.dumps(record).encode(), 0, number)).splitlines()
    headers = [place for place, line in enumerate(lines) if line.startswith("\x1b[1m")]
    assert headers == [0, 5]
    lines = [click.unstyle(line) for line in lines]
    rows = [line.split() for place, line in enumerate(lines) if place not in headers]
    assert "1e+18" in rows[1]
    assert "-" in rows[2]
    assert all("0.333333" in row for row in rows if row is not rows[2])
    ends = [line.rfind("...") for place, line in enumerate(lines) if place not in headers]
    assert ends == sorted(ends)
