"""`replay`: dead letters come back to the tables that had refused them, each once, whatever ends the command."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from pipeline.core.batch import Reject, WireBatch
from pipeline.core.dead_letter import dead_letter
from pipeline.edges.kafka.topics import make_sources, prepare
from tests.cli.pipelines import CONFIG, Pipeline, pipeline_in

TWO_TABLES = (
    CONFIG
    + """
[tables.seen]
stream = "scores"
[tables.seen.operators]
games = {{ type = "count" }}
"""
)
STAMP = 1_700_000_000_123


@pytest.fixture
def pipeline(tmp_path: Path, kafka: str, topic_prefix: str) -> Pipeline:
    return pipeline_in(tmp_path, kafka, topic_prefix, TWO_TABLES)


def source(pipeline: Pipeline) -> str:
    return pipeline.app.streams["scores"].topic


def send(pipeline: Pipeline, values: Sequence[bytes], headers: Sequence[tuple[str, bytes]] = ()) -> None:
    """To partition 1, with key ann."""
    with closing(KafkaProducer(bootstrap_servers=pipeline.app.brokers)) as producer:
        for value in values:
            producer.send(source(pipeline), value, b"ann", list(headers), 1, STAMP)
        producer.flush()


def fold(pipeline: Pipeline) -> None:
    """Run until all is committed."""
    with pipeline.working(), pipeline.admin() as admin:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            committed = admin.committed(pipeline.app.group)
            if len(committed) == 3 and all(admin.bounds(tp).end == offset for tp, offset in committed.items()):
                return
            time.sleep(0.05)
    raise AssertionError("not all is committed")


def games(pipeline: Pipeline, *expected: list[int]) -> None:
    """See that the tables player and seen have published these counts."""
    deadline = time.monotonic() + 20
    while (found := [published(pipeline, table) for table in ("player", "seen")]) != list(expected):
        # A committed offset can be seen a little before the records of the same transaction.
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def published(pipeline: Pipeline, table: str) -> list[int]:
    found = pipeline.records(pipeline.app.output(pipeline.app.tables[table]))
    return [json.loads(record.value)["games"] for record in found]


def replay(pipeline: Pipeline, *arguments: str) -> list[str]:
    done = pipeline.run("replay", "--dead-letters", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def topics(pipeline: Pipeline) -> dict[str, Any]:
    """The app's topics, made."""
    with pipeline.admin() as admin:
        make_sources(admin, pipeline.app)
        return dict(prepare(admin, pipeline.app))


def write_letters(pipeline: Pipeline, reasons: Sequence[str], key: bytes | None = b"ann") -> None:
    """One letter each, of different events of partition 1."""
    made, app = topics(pipeline), pipeline.app
    states = {name: made[app.changelog(table)].topic_id for name, table in app.tables.items()}
    with closing(KafkaProducer(bootstrap_servers=app.brokers, linger_ms=5)) as producer:
        for n, reason in enumerate(reasons):
            batch = WireBatch(source(pipeline), 1, n, n + 1, [key], [b"%d" % n], [n], [STAMP])
            letter = dead_letter(Reject(0, "decode", reason), batch, "scores", limit=1_000_000, states=states)
            producer.send(app.dead_letters, letter.value, letter.key, list(letter.headers), n % 3)
        producer.flush()


def replayed(pipeline: Pipeline) -> list[bytes]:
    return [record.value for record in pipeline.records(source(pipeline))]


def test_a_letter_is_folded_by_the_table_that_had_refused_it_and_by_no_other(pipeline: Pipeline) -> None:
    topics(pipeline)
    event, other = b'{"player": "ann", "ts": 1}', b'{"player": "ann", "score": 3, "ts": 2}'
    send(pipeline, [event, other], [("traceparent", b"00-1")])
    fold(pipeline)
    games(pipeline, [1], [1, 2])

    assert replay(pipeline, "--dry-run")[0] == f"would replay 1 dead letter: 1 to {source(pipeline)}"
    said = [f"replayed 1 dead letter: 1 to {source(pipeline)}", "  1 of player, decode: missing or null: score"]
    assert replay(pipeline) == said
    assert replay(pipeline) == ["replayed 0 dead letters"]
    again = pipeline.records(source(pipeline))[-1]
    assert (again.key, again.value, again.partition, again.timestamp) == (b"ann", event, 1, STAMP)
    assert dict(again.headers)["traceparent"] == b"00-1"

    fold(pipeline)  # nothing was mended
    letters = pipeline.records(pipeline.app.dead_letters)
    assert [dict(letter.headers).get("replays") for letter in letters] == [None, b"1"]
    assert replay(pipeline)[-1] == "1 of them had failed again after a replay, one 1 times"
    pipeline.file.write_text(pipeline.file.read_text().replace("[tables.player]", '[tables.player]\nmissing = "skip"'))
    fold(pipeline)
    games(pipeline, [1, 2], [1, 2])

    assert pipeline.run("reset", "--yes").returncode == 0
    fold(pipeline)  # the event itself is folded now, its replays are not
    games(pipeline, [1, 2, 1, 2], [1, 2, 1, 2])
    assert replay(pipeline, "--since", "1h") == [
        "replayed 0 dead letters",
        "left 2, which are of a state that was reset since",
    ]


def test_what_a_filter_leaves_is_replayed_by_a_later_run_once(pipeline: Pipeline) -> None:
    write_letters(pipeline, [f"reason {n % 4}" for n in range(40)])
    first = replay(pipeline, "--reason", "Reason 1")
    assert first[0].startswith("replayed 10 dead letters")
    assert first[-1] == "left 30, which are not those that were asked for"
    assert sorted(replayed(pipeline)) == sorted(b"%d" % n for n in range(1, 40, 4))
    assert replay(pipeline, "--reason", "reason 1", "--table", "seen")[0] == "replayed 0 dead letters"
    assert replay(pipeline, "--reason", "reason 3")[0].startswith("replayed 10 ")
    assert replay(pipeline)[0].startswith("replayed 20 ")
    assert sorted(replayed(pipeline)) == sorted(b"%d" % n for n in range(40))
    write_letters(pipeline, ["new"] * 2)
    said = [f"replayed 2 dead letters: 2 to {source(pipeline)}", "  2 of every table, decode: new"]
    assert replay(pipeline) == said


def test_since_repeats_what_was_replayed_and_says_so(pipeline: Pipeline) -> None:
    write_letters(pipeline, ["old"] * 3)
    assert replay(pipeline)[0].startswith("replayed 3 ")
    time.sleep(0.01)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03}Z"
    write_letters(pipeline, ["new"] * 2)
    assert replay(pipeline, "--since", now)[0].startswith("replayed 2 ")
    assert replay(pipeline, "--since", "1h")[-1] == "5 of them had been replayed by a run before"
    assert replay(pipeline)[0] == "replayed 0 dead letters"
    assert len(replayed(pipeline)) == 10


@pytest.mark.parametrize("when", ["yesterday", "2026-03-01", "2026-03-01T12:00:00", "5", "-2h"])
def test_a_time_that_is_none_is_refused(pipeline: Pipeline, when: str) -> None:
    done = pipeline.run("replay", "--dead-letters", "--since", when)
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: --since: found "{when}", expected a time with its zone')


def test_what_cannot_be_replayed_is_told_of_once(pipeline: Pipeline) -> None:
    write_letters(pipeline, ["fine"])
    write_letters(pipeline, ["cut"] * 2)
    with closing(KafkaProducer(bootstrap_servers=pipeline.app.brokers)) as producer:
        producer.send(pipeline.app.dead_letters, b"no letter", b"k", partition=0)
        headers = dict(pipeline.records(pipeline.app.dead_letters)[0].headers)
        producer.send(pipeline.app.dead_letters, b"v", b"k", [*(headers | {"truncated": b"value"}).items()], 0)
        producer.send(pipeline.app.dead_letters, b"v", b"k", [*(headers | {"topic": b"gone"}).items()], 0)
        producer.flush()
    said = replay(pipeline)
    assert said[0].startswith("replayed 3 ")
    left = {line for line in said if line.startswith("left")}
    assert left == {
        "left 1, which are no dead letters",
        "left 1, which were cut to fit when they were written",
        "left 1, which are of a topic that no table reads",
    }
    assert replay(pipeline) == ["replayed 0 dead letters", "left 1, which are of a topic that no table reads"]


def test_without_letters_there_is_nothing_to_do(pipeline: Pipeline) -> None:
    assert replay(pipeline) == [f"nothing to replay: topic {pipeline.app.dead_letters} does not exist"]
    topics(pipeline)
    assert replay(pipeline) == ["replayed 0 dead letters"]


def test_each_is_sent_once_whatever_ends_a_run(pipeline: Pipeline) -> None:
    count, rng, ends = 4_000, random.Random(5), {"killed": 0, "interrupted": 0}
    write_letters(pipeline, ["many"] * count)
    while True:
        with pipeline.started("replay", "--dead-letters") as run:
            if sum(ends.values()) < 5:
                try:
                    run.wait(rng.uniform(0.6, 1.6))
                except subprocess.TimeoutExpired:
                    kill = rng.random() < 0.5
                    run.send_signal(signal.SIGKILL if kill else signal.SIGINT)
                    ends["killed" if kill else "interrupted"] += 1
            said, complaint = run.communicate(timeout=60)
        if run.returncode == -signal.SIGKILL:
            continue
        # An interrupt before Python takes signals, or after it has stopped to, ends it without a word.
        assert run.returncode in (0, 130) or (run.returncode, complaint) == (-signal.SIGINT, ""), complaint
        if said.startswith("replayed "):
            break
    values = replayed(pipeline)
    assert (len(values), len(set(values))) == (count, count), ends
    assert replay(pipeline) == ["replayed 0 dead letters"]


def test_of_two_at_once_each_letter_is_sent_once(pipeline: Pipeline) -> None:
    count = 3_000
    write_letters(pipeline, ["many"] * count)
    with pipeline.started("replay", "--dead-letters") as one, pipeline.started("replay", "--dead-letters") as two:
        ended = [(*run.communicate(timeout=90), run.returncode) for run in (one, two)]
    assert sorted(code for *_, code in ended) in ([0, 0], [0, 3]), ended
    for _, complaint, code in ended:
        if code:
            assert re.search(rf"error: another replay of {pipeline.app.name} took over, after [\d,]+", complaint)
    values = replayed(pipeline)
    assert (len(values), len(set(values))) == (count, count)


def test_it_says_what_it_replays(pipeline: Pipeline) -> None:
    done = pipeline.run("replay")
    assert done.returncode == 2
    assert "--dead-letters" in done.stderr
