"""`reset`: everything is folded again from the first event, and nothing of before can come back."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from kafka import TopicPartition as Partition
from kafka.admin import KafkaAdminClient

from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.commit import transactional_id
from pipeline.edges.kafka.errors import Fenced
from pipeline.edges.kafka.producer import TransactionalProducer
from pipeline.edges.kafka.reset import Refold, Reset
from pipeline.errors import KafkaStateError
from tests.cli.pipelines import CONFIG, Pipeline, games, pipeline_in

EVENTS = games(300)


@pytest.fixture
def pipeline(tmp_path: Path, kafka: str, topic_prefix: str) -> Pipeline:
    return pipeline_in(tmp_path, kafka, topic_prefix)


def fold(pipeline: Pipeline, outputs: int) -> list[dict[str, Any]]:
    """Run until the output has so many records; those of each partition in order."""
    with pipeline.working():
        done = pipeline.run("watch", "player", "--from-start", "--limit", str(outputs))
        assert done.returncode == 0
    records = pipeline.records(output(pipeline))
    assert len(records) == outputs
    return [json.loads(record.value) for record in sorted(records, key=lambda r: (r.partition, r.offset))]


def output(pipeline: Pipeline) -> str:
    return pipeline.app.output(pipeline.app.tables["player"])


def changelog(pipeline: Pipeline) -> str:
    return pipeline.app.changelog(pipeline.app.tables["player"])


def test_the_next_run_gives_the_same_again_from_the_first_event(pipeline: Pipeline) -> None:
    pipeline.send([*EVENTS, {"player": "player-1", "score": "not a number", "ts": 0}])
    first = fold(pipeline, 300)
    done = pipeline.run("reset", "--yes", "--outputs")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for topic in (changelog(pipeline), output(pipeline), pipeline.app.dead_letters):
        assert f"deletes topic {topic}" in lines
    assert f"folds 301 events of {pipeline.app.streams['scores'].topic} again" in lines
    assert [line.split(" ... ")[1] for line in lines if " ... " in line] == ["done"] * 4
    assert fold(pipeline, 300) == first
    assert len(pipeline.records(pipeline.app.dead_letters)) == 1


def test_outputs_stay_and_repeat_unless_they_are_deleted(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    first = fold(pipeline, 300)
    assert pipeline.run("reset", "--yes").returncode == 0
    both = fold(pipeline, 600)
    for partition in range(3):
        once = [record for record in first if record["partition"] == partition]
        assert [record for record in both if record["partition"] == partition] == once * 2


def steps_of(reset: Reset) -> list[Callable[[], None]]:
    return [step for _, step in reset.steps()]


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_reset_that_was_cut_short_never_leaves_a_state_that_goes_on_wrongly(pipeline: Pipeline, done: int) -> None:
    """After 1 step all is as it was; after 2 or 3 a run refuses, for its changelog is gone; another reset mends it."""
    pipeline.send(EVENTS)
    first = fold(pipeline, 300)
    with pipeline.admin() as admin:
        for step in steps_of(Reset(admin, pipeline.app, outputs=True))[:done]:
            step()
    if done == 1:
        pipeline.send(EVENTS[:10])
        assert max(record["games"] for record in fold(pipeline, 310)) == 62
    else:
        run = subprocess.run(pipeline.command("run"), capture_output=True, text=True, check=False, timeout=60)
        assert run.returncode == 3
        assert "reset" in run.stderr
    assert pipeline.run("reset", "--yes", "--outputs").returncode == 0
    assert pipeline.run("reset", "--yes", "--outputs").returncode == 0
    again = fold(pipeline, 300 if done > 1 else 310)
    assert [record for record in again if record["games"] <= 60] == first


def test_every_step_can_be_repeated(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    first = fold(pipeline, 300)
    with pipeline.admin() as admin:
        for step in steps_of(Reset(admin, pipeline.app, outputs=True)):
            step()
            step()
        assert admin.committed(pipeline.app.group) == {}
        assert admin.describe([changelog(pipeline), output(pipeline)]) == {}
    assert fold(pipeline, 300) == first


def test_a_running_worker_is_named_and_nothing_is_changed(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    with pipeline.admin() as admin:
        before = Reset(admin, pipeline.app, outputs=False)
        with pipeline.working():
            done = pipeline.run("reset", "--yes")
            assert (done.returncode, done.stdout) == (3, "")
            assert f"group {pipeline.app.group} still has members: streamfold" in done.stderr
            assert pipeline.run("watch", "player", "--from-start", "--limit", "300").returncode == 0
            with pytest.raises(KafkaStateError, match="still has members"):  # one that was started meanwhile
                before.fence()


def test_a_worker_that_slept_through_it_can_commit_nothing(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    fold(pipeline, 300)
    settings = ClientSettings.of(pipeline.app)
    tp = TopicPartition(pipeline.app.streams["scores"].topic, 2)

    async def sleep_through(reset: Callable[[], None]) -> None:
        sleeper = await TransactionalProducer.fence(settings, transactional_id(pipeline.app.group, tp))
        await sleeper.begin()
        await sleeper.append(output(pipeline), 2, [b"old"], [b"old"])
        await sleeper.acknowledge()
        await asyncio.to_thread(reset)
        with pytest.raises(Fenced):
            await sleeper.commit()
        await sleeper.close()

    def reset() -> None:
        with pipeline.admin() as admin:
            for step in steps_of(Reset(admin, pipeline.app, outputs=False)):
                step()

    asyncio.run(sleep_through(reset))
    assert b"old" not in {record.value for record in pipeline.records(output(pipeline))}


def test_a_source_that_is_gone_still_has_its_owners_fenced(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    fold(pipeline, 300)
    topic = pipeline.app.streams["scores"].topic
    with pipeline.admin() as admin:
        admin.delete([topic])
        reset = Reset(admin, pipeline.app, outputs=False)
        assert reset.transactional_ids == [f"streamfold/{pipeline.app.name}/{topic}/{i}" for i in range(3)]
        assert reset.refolds == []
        for step in steps_of(reset):
            step()
        assert admin.describe([changelog(pipeline)]) == {}


def test_what_is_no_longer_kept_is_told(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    fold(pipeline, 300)
    topic = pipeline.app.streams["scores"].topic
    with pipeline.admin() as admin:
        busiest, bounds = max(
            admin.all_bounds(TopicPartition(topic, partition) for partition in range(3)).items(),
            key=lambda item: item[1].end,
        )
        client = KafkaAdminClient(bootstrap_servers=pipeline.app.brokers)
        client.delete_records({Partition(*busiest): 40})
        client.close()
        assert bounds.end > 40
        assert Reset(admin, pipeline.app, outputs=False).refolds == [Refold(topic, 260, 40, latest=False)]
    done = pipeline.run("reset")
    assert done.returncode == 2
    assert f"folds 260 events of {topic} again; 40 that were folded are no longer kept" in done.stdout


def test_a_stream_that_starts_at_the_end_folds_nothing_again(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    pipeline = pipeline_in(tmp_path, kafka, topic_prefix, CONFIG.replace("partitions = 3", 'start = "latest"'))
    pipeline.send(EVENTS[:1])
    assert 'again: its stream says start = "latest"' in pipeline.run("reset", "--yes").stdout


def test_without_a_terminal_it_has_to_be_confirmed(pipeline: Pipeline) -> None:
    pipeline.send(EVENTS)
    fold(pipeline, 300)
    done = pipeline.run("reset", text="y\n")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    with pipeline.admin() as admin:
        assert changelog(pipeline) in admin.describe([changelog(pipeline)])
        assert admin.committed(pipeline.app.group)


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 1), (b"y\n", 0)])
def test_a_terminal_is_asked(pipeline: Pipeline, answer: bytes, status: int) -> None:
    pipeline.send(EVENTS[:1])
    fold(pipeline, 1)
    screen, terminal = pty.openpty()
    os.write(screen, answer)
    done = subprocess.run(
        pipeline.command("reset"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "150"},
        check=False,
        timeout=60,
    )
    assert done.returncode == status
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    assert "Go on?" in shown
    assert ("nothing was reset" in shown) == bool(status)
    assert ("2/3" in shown) == (not status), "a bar shows how far it is"
    with pipeline.admin() as admin:
        assert bool(admin.committed(pipeline.app.group)) == bool(status)
