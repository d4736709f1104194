"""`send`: what is in the file is in the topic, and whatever ends it early says how much is."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.pipelines import CONFIG, Pipeline, games, pipeline_in

WEATHER = Path(__file__).parents[2] / "examples" / "weather.csv"


@pytest.fixture
def pipeline(tmp_path: Path, kafka: str, topic_prefix: str) -> Pipeline:
    return pipeline_in(tmp_path, kafka, topic_prefix)


def source(pipeline: Pipeline) -> str:
    return pipeline.app.streams["scores"].topic


def sent(pipeline: Pipeline) -> list[bytes]:
    return sorted(record.value for record in pipeline.records(source(pipeline)))


def write(folder: Path, name: str, lines: Sequence[str]) -> str:
    file = folder / name
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(file)


def test_json_lines_reach_the_topic_as_they_are(pipeline: Pipeline, tmp_path: Path) -> None:
    lines = [json.dumps(game) for game in games(2_000)]
    done = pipeline.run("send", "scores", write(tmp_path, "games.jsonl", lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"sent 2,000 events to {source(pipeline)} in ")
    records = pipeline.records(source(pipeline))
    assert sorted(record.value.decode() for record in records) == sorted(lines)
    homes: dict[bytes, set[int]] = {}
    for record in records:
        assert record.key.decode() == json.loads(record.value)["player"]
        homes.setdefault(record.key, set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in homes.values())
    scores = [json.loads(record.value)["score"] for record in records if record.key == b"player-3"]
    assert scores == sorted(scores)


def test_the_topic_is_made_with_the_streams_partitions_and_kept(pipeline: Pipeline) -> None:
    for _ in range(2):
        assert pipeline.run("send", "scores", text='{"player": 7}\n').returncode == 0
    with pipeline.admin() as admin:
        assert admin.describe([source(pipeline)])[source(pipeline)].partitions == 3
    assert [record.key for record in pipeline.records(source(pipeline))] == [b"7", b"7"]


def test_a_spreadsheet_with_gaps(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    pipeline = pipeline_in(tmp_path, kafka, topic_prefix, CONFIG.replace('key = "player"', 'key = "origin"'))
    done = pipeline.run("send", "scores", str(WEATHER))
    assert done.returncode == 0, done.stderr
    found = [json.loads(value) for value in sent(pipeline)]
    rows = WEATHER.read_text("utf-8").splitlines()
    assert len(found) == len(rows) - 1
    first = next(event for event in found if event["origin"] == "EWR" and event["time_hour"] == "2013-08-01T00:00:00Z")
    assert first == {
        "origin": "EWR",
        "time_hour": "2013-08-01T00:00:00Z",
        "temp": 75.92,
        "humid": 59.84,
        "wind_speed": 11.5078,
        "pressure": 1017.3,
    }


def test_raw_numbers_need_a_field_for_the_key(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    binary = 'format = "float64"\nfields = ["score", "level"]'
    text = CONFIG.replace('key = "player"\ntime = "ts"', binary)
    pipeline = pipeline_in(tmp_path, kafka, topic_prefix, text)
    line = '{"player": "ann", "score": 1.5, "level": 2}\n'
    refused = pipeline.run("send", "scores", text=line)
    assert refused.returncode == 2
    assert "--key FIELD" in refused.stderr
    with pipeline.admin() as admin:
        assert admin.describe([source(pipeline)]) == {}
    assert pipeline.run("send", "scores", "-", "--key", "player", text=line).returncode == 0
    assert [(record.key, record.value.hex()) for record in pipeline.records(source(pipeline))] == [
        (b"ann", "000000000000f83f0000000000000040")
    ]


@pytest.mark.parametrize(
    ("name", "lines", "bad"),
    [
        ("games.jsonl", ['{"player": "a"}', "", '{"player": "b"}', '{"player" "c"}', "{}"], (4, "malformed")),
        ("games.jsonl", ['{"player": "a"}', '{"player": "b"}', '{"score": 1}'], (3, "player: found null")),
        ("games.csv", ["player,score", "a,1", "b,2", "c"], (4, "found 1 cells, expected 2")),
    ],
)
def test_a_bad_line_is_named_and_the_events_before_it_are_sent(
    pipeline: Pipeline, tmp_path: Path, name: str, lines: list[str], bad: tuple[int, str]
) -> None:
    place, what = bad
    file = write(tmp_path, name, lines)
    done = pipeline.run("send", "scores", file)
    assert (done.returncode, done.stdout) == (2, "")
    cause, mend = done.stderr.splitlines()[-2:]  # the client may have warned before
    print(done.stderr)
    assert cause.startswith(f"error: {file}:{place}: ")
    assert what in cause
    assert mend.endswith("sent before it: 2")
    assert [json.loads(value)["player"] for value in sent(pipeline)] == ["a", "b"]


def test_an_event_larger_than_any_record_is_a_bad_line(pipeline: Pipeline) -> None:
    done = pipeline.run("send", "scores", text='{"player": "a"}\n{"player": "b", "note": "%s"}\n' % ("x" * 2_000_000))
    assert done.returncode == 2
    assert "stdin:2: too large" in done.stderr
    assert len(sent(pipeline)) == 1


def test_an_event_that_the_topic_refuses_ends_it(pipeline: Pipeline) -> None:
    with pipeline.admin() as admin:
        from pipeline.edges.kafka.topic_spec import TopicSpec

        admin.create([TopicSpec(source(pipeline), 3, 1, {"max.message.bytes": "2000"})])
    done = pipeline.run("send", "scores", text='{"player": "a"}\n{"player": "b", "note": "%s"}\n' % ("x" * 5_000))
    assert done.returncode == 3
    assert "did not arrive" in done.stderr
    assert "Traceback" not in done.stderr


def await_arrivals(pipeline: Pipeline, child: subprocess.Popen[str], count: int) -> None:
    with pipeline.admin() as admin:
        while not admin.describe([source(pipeline)]):
            assert child.poll() is None
    while len(sent(pipeline)) < count:
        assert child.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_events_arrive_while_the_pipe_is_open_and_an_interruption_loses_none(
    pipeline: Pipeline, number: signal.Signals
) -> None:
    with pipeline.started("send", "scores", stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write('{"player": "a"}\n' * 10)
        child.stdin.flush()
        await_arrivals(pipeline, child, 10)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert out.startswith("interrupted, sent 10 events to ")


def test_a_replay_is_interrupted_between_two_events(pipeline: Pipeline, tmp_path: Path) -> None:
    file = write(tmp_path, "games.jsonl", [json.dumps(game) for game in games(100_000)])
    with pipeline.started("send", "scores", file, "--rate", "50") as child:
        await_arrivals(pipeline, child, 20)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert out.startswith(f"interrupted, sent {len(sent(pipeline)):,} events to ")
    assert " a second)" in out


def test_a_rate_holds_events_back(pipeline: Pipeline) -> None:
    done = pipeline.run("send", "scores", "-", "--rate", "40", text='{"player": "a"}\n' * 41)
    assert done.returncode == 0
    seconds = float(done.stdout.split(" in ")[1].split(" s ")[0])
    assert seconds >= 1


def test_a_terminal_shows_a_bar(pipeline: Pipeline, tmp_path: Path) -> None:
    file = write(tmp_path, "games.jsonl", [json.dumps(game) for game in games(3_000)])
    screen, terminal = pty.openpty()
    done = subprocess.run(
        pipeline.command("send", "scores", file, "--rate", "6000"),
        stderr=terminal,
        stdout=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "150"},
        check=True,
        timeout=60,
    )
    os.close(terminal)
    assert done.stdout.startswith(b"sent 3,000 events")
    assert b"a second)" in os.read(screen, 100_000)
    os.close(screen)


def test_wrong_input_is_refused_before_anything_is_made(pipeline: Pipeline, tmp_path: Path) -> None:
    for arguments, what in (
        (["score"], 'unknown stream "score", expected "scores"; did you mean "scores"?'),
        (["scores", str(tmp_path / "nothing.jsonl")], "does not exist"),
        (["scores", "-", "--key", "score"], 'found "score", expected "player"'),
        (["scores", "-", "--rate", "0"], "--rate"),
    ):
        done = pipeline.run("send", *arguments)
        assert done.returncode == 2
        assert what in done.stderr
        assert "Traceback" not in done.stderr
    with pipeline.admin() as admin:
        assert admin.describe([source(pipeline)]) == {}


def test_no_broker_is_exit_code_3(tmp_path: Path) -> None:
    from pipeline.edges.broker.ports import free_port

    text = CONFIG.replace("[streams.scores]", 'start_timeout = "500ms"\n[streams.scores]')
    pipeline = pipeline_in(tmp_path, f"127.0.0.1:{free_port('127.0.0.1')}", "nobody", text)
    for verb, arguments in (("send", ["scores"]), ("watch", ["player"]), ("reset", ["--yes"])):
        done = pipeline.run(verb, *arguments)
        assert done.returncode == 3
        assert "no broker at" in done.stderr
