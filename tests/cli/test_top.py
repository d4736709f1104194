"""`top`: what it works out from the pages of workers, and how it shows that."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from io import StringIO
from math import inf
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli.top_view import view
from pipeline.core.config.load import load
from pipeline.core.config.model import App
from pipeline.edges.top import Group, Snapshot
from pipeline.edges.top.samples import Samples, quantile
from pipeline.edges.web.address import Address
from pipeline.errors import InputError, RunError
from tests.cli.workers import Pages, serving
from tests.kafka.process import STREAMFOLD, Site, end, free_ports, process, until

CONFIG = """
[app]
name = "arcade"
brokers = "127.0.0.1:1"
http = "127.0.0.1:{port}"
{more}
[streams.scores]
topic = "game-scores"
[tables.player]
stream = "scores"
[tables.player.operators]
average = {{ type = "mean", value = "score" }}
"""
OUTPUT = "arcade-player"


def app_at(folder: Path, port: int, more: str = "") -> App:
    file = folder / "arcade.toml"
    file.write_text(CONFIG.format(port=port, more=more), "utf-8")
    return load(file)


@pytest.fixture
def port() -> int:
    return free_ports(6)


@contextmanager
def group_of(app: App, *members: Address) -> Iterator[Group]:
    group = Group(app, lambda: members)
    try:
        yield group
    finally:
        group.close()


def shown(snapshot: Snapshot) -> str:
    out = StringIO()
    Console(file=out, width=120).print(view(snapshot))
    return out.getvalue()


# Histograms and counters


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, {0.1: 0, 0.2: 10, inf: 10}, 0.15),  # half way through its bucket
        (0.5, {0.1: 10, 0.2: 10, inf: 10}, 0.05),  # the first one begins at zero
        (0.5, {1: 2, 2: 4, 4: 8, inf: 8}, 2.0),
        (0.9, {1: 2, 2: 4, 4: 8, inf: 8}, 3.6),
        (0.99, {1: 1, 2: 2, inf: 100}, 2.0),  # beyond all bounds: the largest one
        (1.0, {1: 1, 2: 1, inf: 1}, 1.0),
        (0.0, {1: 0, 2: 4, inf: 4}, 0.0),
        (0.5, {1: 0, inf: 0}, None),
        (0.5, {}, None),
        (0.5, {inf: 3}, None),
    ],
)
def test_quantiles_are_those_of_prometheus(q: float, buckets: dict[float, float], expected: float | None) -> None:
    assert quantile(q, buckets) == (None if expected is None else pytest.approx(expected))


def test_counters_grow_also_over_a_restart_and_a_partition_that_went_and_came() -> None:
    def samples(started: int, **counts: int) -> Samples:
        lines = [f'streamfold_events_total{{partition="{name}"}} {count}' for name, count in counts.items()]
        return Samples.parse("\n".join([*lines, f"process_start_time_seconds {started}", ""]), 0.0)

    def grown(before: Samples, now: Samples) -> dict[str, float]:
        return {labels["partition"]: value for labels, value in now.since(before).named("events_total")}

    before = samples(1, a=10, b=10, c=10)
    assert grown(before, samples(1, a=15, b=4, d=3)) == {"a": 5, "b": 4, "d": 3}
    assert grown(before, samples(2, a=15)) == {"a": 15}


# The workers of a group


def test_figures_are_those_between_two_looks_over_all_workers(tmp_path: Path, port: int) -> None:
    app = app_at(tmp_path, port)
    first, second = Pages(OUTPUT), Pages(OUTPUT)
    for pages in (first, second):
        pages.metrics.commit_seconds.labels("scores").observe(100)  # long ago
        pages.metrics.state_bytes.labels("player").set(1024)
        pages.metrics.ready.set(1)
    with serving(first, port), serving(second, port + 1), group_of(app) as group:
        before = group.first_look()
        assert before.streams["scores"].events_per_second is None
        assert before.tables["player"].outputs_per_second is None
        for number, pages in enumerate((first, second)):
            pages.metrics.events.labels("scores", number).inc(100)
            pages.metrics.outputs.labels("player").inc(50)
            pages.metrics.dead_letters.labels("decode", "no JSON").inc(10)
            pages.metrics.lag_events.labels("game-scores", number).set(7)
            pages.metrics.keys.labels("player", number).set(3)
            for _ in range(10):
                pages.metrics.commit_seconds.labels("scores").observe(0.02)
        now = group.look()
    stream, table = now.streams["scores"], now.tables["player"]
    assert stream.events_per_second is not None
    assert table.outputs_per_second == pytest.approx(stream.events_per_second / 2)
    assert now.dead_letters_per_second == pytest.approx(stream.events_per_second / 10)
    assert 200 / stream.events_per_second <= now.time - before.time + 1
    assert stream.lag == 14
    assert stream.commit_seconds.p50 == pytest.approx(0.0175)
    assert stream.commit_seconds.p99 == pytest.approx(0.02485)
    assert stream.latency_seconds.p50 is None
    assert (table.keys, table.state_bytes, table.restoring) == (6, 2048, None)
    assert [worker.state for worker in now.workers.values()] == ["ready", "ready"]


def test_a_worker_that_goes_and_comes_back(tmp_path: Path, port: int) -> None:
    app = app_at(tmp_path, port)
    pages, late = Pages(OUTPUT), Pages(OUTPUT)
    late.reasons = ["joining the group"]
    first, second = (f"127.0.0.1:{port + number}" for number in range(2))
    with serving(pages, port), group_of(app) as group:
        with serving(late, port + 1):
            worker = group.first_look().workers[second]
            assert (worker.state, worker.reasons) == ("not ready", ("joining the group",))
        gone = group.look()
        assert (gone.workers[second].state, gone.workers[first].state) == ("gone", "ready")
        assert gone.workers[second].gone_seconds is not None
        assert "no answer for" in shown(gone)
        assert "1 of 2 workers ready" in shown(gone)
        late.reasons = []
        late.metrics.events.labels("scores", 0).inc(100)
        with serving(late, port + 1):
            back = group.look()
            assert group.look().workers[second].returned == 1
        assert (back.workers[second].state, back.workers[second].returned) == ("ready", 1)
        assert back.streams["scores"].events_per_second
        assert "came back" in shown(back)


def test_a_restore_has_progress_and_an_end(tmp_path: Path, port: int) -> None:
    pages = Pages(OUTPUT)
    remaining = pages.metrics.restore_remaining.labels("player", 0)
    with serving(pages, port), group_of(app_at(tmp_path, port)) as group:
        remaining.set(1000)
        restoring = group.first_look().tables["player"].restoring
        assert restoring is not None
        assert (restoring.remaining, restoring.of, restoring.seconds_left) == (1000, 1000, None)
        remaining.set(250)
        snapshot = group.look()
        restoring = snapshot.tables["player"].restoring
        assert restoring is not None
        assert (restoring.remaining, restoring.of) == (250, 1000)
        assert restoring.seconds_left is not None
        assert "75 %, 250 records to go, about" in shown(snapshot)
        remaining.set(0)
        snapshot = group.look()
        assert snapshot.tables["player"].restoring is None
        assert "restoring" not in shown(snapshot)


def test_members_are_found_wherever_they_are_and_other_apps_are_left_out(tmp_path: Path, port: int) -> None:
    app = app_at(tmp_path, port)
    far, silent = (Address("127.0.0.1", port + number) for number in (5, 4))
    with serving(Pages("another-player"), port), serving(Pages(OUTPUT), far.port), group_of(app, far, silent) as group:
        workers = group.first_look().workers
        assert {address: worker.state for address, worker in workers.items()} == {
            str(far): "ready",
            str(silent): "gone",
        }


def test_nobody_somebody_else_and_another_token(tmp_path: Path, port: int) -> None:
    app = app_at(tmp_path, port)
    with group_of(app) as group, pytest.raises(RunError, match=f"no worker answers at http://127.0.0.1:{port}"):
        group.first_look()
    with serving(Pages("another-player"), port), group_of(app) as group, pytest.raises(RunError, match="is no streamf"):
        group.first_look()
    pages = Pages(OUTPUT, token="0123456789abcdef")
    with serving(pages, port), group_of(app) as group, pytest.raises(InputError, match="another token"):
        group.first_look()
    app = app_at(tmp_path, port, 'http_token = "0123456789abcdef"')
    neighbour = Pages(OUTPUT)
    with serving(pages, port), serving(neighbour, port + 1), group_of(app) as group:
        assert len(group.first_look().workers) == 1
    assert neighbour.asked == [], "a token was shown to whoever listens on the next port"


def test_a_worker_that_was_stopped_for_good_is_forgotten(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, second = app_at(tmp_path, port), Address("127.0.0.1", port + 1)
    members: list[Address] = []
    group = Group(app, lambda: members)
    with serving(Pages(OUTPUT), port), closing(group):
        with serving(Pages(OUTPUT), port + 1):
            assert len(group.first_look().workers) == 2
        assert len(group.look().workers) == 2
        monkeypatch.setattr("pipeline.edges.top.group._FORGET_SECONDS", 0.0)
        members.append(second)
        assert len(group.look().workers) == 2, "the group still has it"
        members.clear()
        assert list(group.look().workers) == [f"127.0.0.1:{port}"]


# The command


def top(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", "top", str(folder / "arcade.toml"), *options]


def test_a_pipe_gets_text_and_programs_get_lines_of_json(tmp_path: Path, port: int) -> None:
    app_at(tmp_path, port)
    pages = Pages(OUTPUT)
    pages.metrics.state_bytes.labels("player").set(3_000_000)
    with serving(pages, port):
        run = partial(subprocess.run, capture_output=True, text=True, timeout=60, check=False)
        options = ("--interval", "100ms", "--count", "2")
        done = run(top(tmp_path, *options))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("1 of 1 workers ready") == 2
        assert "\x1b" not in done.stdout
        (row,) = {tuple(line.split()) for line in done.stdout.splitlines() if line.startswith("player ")}
        assert row == ("player", "0", "0", "2.9", "MiB")
        done = subprocess.run(
            top(tmp_path, "--json", *options), capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [look["streams"]["scores"]["events_per_second"] for look in looks] == [0, 0]
    assert looks[0]["workers"][f"127.0.0.1:{port}"] == {
        "state": "ready",
        "reasons": [],
        "gone_seconds": None,
        "returned": 0,
    }


def test_without_a_worker_there_is_a_cause_and_a_mend(tmp_path: Path, port: int) -> None:
    app_at(tmp_path, port)
    done = subprocess.run(top(tmp_path), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    cause, mend = done.stderr.splitlines()
    assert cause.startswith(f"error: no worker answers at http://127.0.0.1:{port}: ")
    assert mend.startswith("hint: `streamfold run FILE` starts one")


@pytest.mark.parametrize("ending", ["q", "signal"])
def test_a_terminal_gets_a_live_view_until_q_or_a_signal(tmp_path: Path, port: int, ending: str) -> None:
    app_at(tmp_path, port)
    with serving(Pages(OUTPUT), port), on_a_terminal(top(tmp_path, "--interval", "200ms")) as (child, screen):
        seen = b""
        while seen.count(b"workers ready") < 3:
            seen += os.read(screen, 100_000)
        os.write(screen, b"xq") if ending == "q" else child.send_signal(signal.SIGINT)
        with suppress(OSError):  # which is how a terminal ends
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and select.select([screen], [], [], 1)[0]:
                seen += os.read(screen, 100_000)
        assert child.wait(timeout=30) == 0
    assert b"error" not in seen
    assert b"\x1b[?1049h" in seen, "not on a screen of its own"
    assert b"\x1b[?1049l" in seen, "and not back"


@contextmanager
def on_a_terminal(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command whose three streams are a terminal, and the other side of that; nothing is left of it afterwards."""
    screen, terminal = pty.openpty()
    environment = os.environ | {"LINES": "40", "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as child:
        os.close(terminal)
        try:
            yield child, screen
        finally:
            child.kill()
            os.close(screen)


def test_the_workers_of_a_run(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    site = Site(kafka, tmp_path, topic_prefix, free_ports(2))
    site.make_sources()
    with site.running("--workers", "2", ready=2) as worker:
        site.send("scores", [(b"player-%d" % (number % 5), {"score": number}) for number in range(200)])
        until(lambda: site.committed() == 200, 60, "all committed", worker)
        command = [*STREAMFOLD, "top", str(site.file), "--json", "--interval", "200ms"]
        with process(command) as child:
            assert child.stdout is not None
            looks = map(json.loads, child.stdout)
            look = next(look for look in looks if all(w["state"] == "ready" for w in look["workers"].values()))
            assert set(look["workers"]) == {f"127.0.0.1:{site.port}", f"127.0.0.1:{site.port + 1}"}
            assert (look["tables"]["player"]["keys"], look["streams"]["scores"]["lag"]) == (5, 0)
            site.send("scores", [(b"player-5", {"score": 1})] * 50)
            busy = next(look for look in looks if look["streams"]["scores"]["events_per_second"])
            assert busy["tables"]["player"]["outputs_per_second"] == busy["streams"]["scores"]["events_per_second"]
            assert 0 < busy["streams"]["scores"]["commit_seconds"]["p50"] < 60
            code, said = end(child, signal.SIGINT)
            assert (code, "error" in said) == (0, False)


def test_an_interval_is_a_duration_and_not_too_short(tmp_path: Path, port: int) -> None:
    app_at(tmp_path, port)
    for interval, told in (("5", "expected a duration"), ("1ms", "expected at least 100ms")):
        done = subprocess.run(
            top(tmp_path, "--interval", interval), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert told in done.stderr
