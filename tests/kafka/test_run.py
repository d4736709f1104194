"""`streamfold run`: how it starts, how it ends, several workers, and a Kafka of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient

from pipeline.edges.broker import EmbeddedKafka
from pipeline.edges.host.worker import STOP_SECONDS
from pipeline.edges.kafka.client import ClientSettings
from tests.kafka.live_stream import stream
from tests.kafka.process import STREAMFOLD, Site, ask, end, free_ports, is_ready, process, until

EVENTS = [(f"player-{n % 40}".encode(), {"score": n}) for n in range(4_000)]


@pytest.fixture
def site(kafka: str, tmp_path: Path, topic_prefix: str) -> Site:
    site = Site(kafka, tmp_path, topic_prefix, free_ports(2))
    site.make_sources()
    return site


def children(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers of a crew that run."""
    return alive(psutil.Process(parent.pid).children())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_commits_and_ends_with_0(site: Site, number: signal.Signals) -> None:
    with site.running() as worker:
        site.send("scores", EVENTS)
        until(lambda: site.ask("/tables/player")[1]["keys"] != [], 60, "some events folded", worker)
        code, said = end(worker, number)
    assert code == 0, said
    assert "Traceback" not in said
    assert said.index(f"stopping on {number.name}") < said.index("stopped: all that was folded is committed")
    folded = site.committed()
    with site.running() as again:
        until(lambda: site.committed() == len(EVENTS), 60, f"the rest after {folded}", again)
        games = [site.ask(f"/tables/player/player-{n}")[1]["games"] for n in range(40)]
        assert end(again)[0] == 0
    assert games == [100] * 40


def test_memory_does_not_grow_with_all_that_is_read(site: Site) -> None:
    events = [(f"player-{n % 40}".encode(), {"score": n, "remark": "x" * 60_000}) for n in range(400)]
    taken: list[int] = []

    def committed() -> bool:
        return site.committed() == (len(taken) + 1) * len(events)

    with site.running() as worker:
        for _ in range(4):
            site.send("scores", events)
            until(committed, 60, "all that was sent committed", worker)
            taken.append(psutil.Process(worker.pid).memory_info().rss)
    read = 3 * len(events) * 60_000
    assert taken[-1] - taken[0] < read / 2, taken


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(site: Site, number: signal.Signals, code: int) -> None:
    with site.running() as worker:
        worker.send_signal(number)
        time.sleep(0.01)
        worker.send_signal(number)
        assert worker.wait(30) in (code, 0)  # 0: it was quicker than the second signal


def test_a_bad_event_where_the_table_says_stop_ends_with_1_each_time_until_it_is_let_pass(site: Site) -> None:
    lenient = site.file.read_text()
    site.file.write_text(lenient.replace('stream = "scores"', 'stream = "scores"\non_error = "stop"'))
    site.send("scores", [(b"ann", {"score": 1}), (b"ann", {"score": "many"}), (b"ann", {"score": 3})])
    for _ in range(2):
        done = site.streamfold("run", str(site.file))
        assert done.returncode == 1, done.stderr
        cause, mend = (line for line in done.stderr.splitlines() if line.startswith(("error:", "hint:")))
        assert f"{site.name}.scores-" in cause
        assert "at offset 1 (decode: invalid field: score: Expected `float`, got `str`), and table player" in cause
        assert f"until it is in {site.name}-dead-letters" in mend
        assert "Traceback" not in done.stderr
    assert site.committed() == 0
    site.file.write_text(lenient)
    with site.running() as worker:
        until(lambda: site.committed() == 3, 60, "all committed", worker)
        assert site.ask("/tables/player/ann")[1]["games"] == 2
        assert end(worker)[0] == 0


def test_a_port_in_use_ends_with_2_before_anything_is_made(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)):
        done = site.streamfold("run", str(site.file))
    assert done.returncode == 2
    assert f"127.0.0.1:{site.port}" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert set(topics_of(site)) == {f"{site.name}.scores", f"{site.name}.machine"}


def test_no_broker_ends_with_3(tmp_path: Path) -> None:
    site = Site(f"127.0.0.1:{free_ports()}", tmp_path, "alone", free_ports())
    done = site.streamfold("run", str(site.file))
    assert done.returncode == 3
    assert site.brokers in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_while_waiting_for_a_broker_ends_with_0(tmp_path: Path) -> None:
    site = Site(f"127.0.0.1:{free_ports()}", tmp_path, "alone", free_ports())
    site.file.write_text(site.file.read_text().replace('start_timeout = "5s"', 'start_timeout = "60s"'))
    with process([*STREAMFOLD, "run", str(site.file)]) as worker:
        until(lambda: answers(site.port), 60, "listening", worker)
        assert ask(site.port, "/livez")[0] == 200
        assert ask(site.port, "/readyz") == (503, {"ready": False, "reasons": ["starting"]})
        assert ask(site.port, "/tables/player/a")[0] == 503
        assert psutil.Process(worker.pid).cmdline()[-2:] == ["run", str(site.file)], "ps tells what was typed"
        assert end(worker, signal.SIGINT)[0] == 0


def test_a_missing_source_ends_with_3(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    site = Site(kafka, tmp_path, topic_prefix, free_ports())
    done = site.streamfold("run", str(site.file))
    assert done.returncode == 3
    assert f"{site.name}.scores" in done.stderr


def test_logs_are_lines_of_json_if_asked_for(site: Site) -> None:
    with site.running("--log", "json") as worker:
        _, said = end(worker)
    messages = [json.loads(line)["message"] for line in said.splitlines()]
    assert any(f"HTTP on http://127.0.0.1:{site.port}" in message for message in messages)


PROGRAM = """
import sys
from operators import Count
from pipeline import App, Stream, Table, run

name, brokers, port = sys.argv[1:]
scores = Stream("scores", topic=f"{name}.scores")
player = Table("player", scores, {"games": Count()})
run(App(name, [player], brokers=brokers, http=f"127.0.0.1:{port}"))
print("ended")
"""


def test_a_program_of_ones_own_runs_a_pipeline(site: Site) -> None:
    command = [sys.executable, "-c", PROGRAM, site.name, site.brokers, str(site.port)]
    with process(command) as program:
        until(lambda: is_ready(site.port), 60, "ready", program)
        site.send("scores", EVENTS)
        until(lambda: site.committed() == len(EVENTS), 60, "all committed", program)
        code, said = end(program)
    assert (code, said.splitlines()[-1]) == (0, "ended"), said


def test_two_workers_share_the_keys_and_answer_for_each_other(site: Site) -> None:
    site.send("scores", EVENTS)
    with site.running("--workers", "2", ready=2) as crew:
        until(lambda: site.committed() == len(EVENTS), 60, "all committed", crew)
        # Five partitions with the machine's: who holds that one may hold one or two of the player's.
        until(lambda: sum(shares(site)) == 4 and all(shares(site)), 60, "both hold some", crew)
        one, other = (ask(port, "/tables/player/player-7") for port in (site.port, site.port + 1))
        assert one == other
        assert one[0] == 200, one
        for n in range(0, 40, 13):
            done = site.streamfold("query", str(site.file), "player", f"player-{n}")
            assert done.returncode == 0, done.stderr
        assert site.streamfold("query", str(site.file), "player", "nobody").returncode == 1
        for port, peer in ((site.port, site.port + 1), (site.port + 1, site.port)):
            with stream(port) as live:
                live.until(lambda _, data, peer=peer: data.get("workers") == [f"127.0.0.1:{peer}"])  # type: ignore[misc]
        assert end(crew)[0] == 0


def test_a_killed_worker_of_several_comes_back(site: Site) -> None:
    with site.running("--workers", "2", ready=2) as crew:
        before = children(crew)
        before[0].kill()
        until(lambda: len(set(children(crew)) - {before[0]}) == 2, 60, "a new one", crew)
        code, said = end(crew)
    assert code == 0, said
    assert "was killed; starting it again" in said


def test_workers_end_with_their_parent_even_on_kill(site: Site) -> None:
    with site.running("--workers", "2", ready=2) as crew:
        workers = children(crew)
        assert len(workers) == 2
        crew.kill()
        psutil.wait_procs(workers, timeout=STOP_SECONDS + 5)
        assert alive(workers) == []


def test_the_first_failure_of_several_workers_ends_all(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port + 1)):
        done = site.streamfold("run", str(site.file), "--workers", "2")
    assert done.returncode == 2
    assert not is_ready(site.port)


def test_embedded_brings_its_own_kafka_and_keeps_its_data(tmp_path: Path) -> None:
    site = Site(f"127.0.0.1:{free_ports()}", tmp_path, "own", free_ports())
    with site.running("--embedded") as worker:
        site.send("scores", EVENTS[:100])
        until(lambda: site.committed() == 100, 60, "all committed", worker)
        code, said = end(worker)
        assert code == 0, said
    assert f"starting a Kafka at {site.brokers}, with its data in {tmp_path}" in said.splitlines()[0]
    assert (tmp_path / ".streamfold").is_dir()
    with site.running("--embedded") as worker:
        assert site.ask("/tables/player/player-1")[1]["games"] == 3
        assert end(worker)[0] == 0


def test_a_stop_that_the_broker_holds_up_ends_in_time_and_says_what_is_not_committed(tmp_path: Path) -> None:
    with EmbeddedKafka() as kafka:
        site = Site(kafka.address, tmp_path, "held", free_ports())
        site.file.write_text(site.file.read_text().replace("[app]", '[app]\ncommit_interval = "20s"'))
        site.make_sources()
        with site.running() as worker:
            site.send("scores", EVENTS[:1])
            until(lambda: site.committed() == 1, 60, "the first commit", worker)
            site.send("scores", EVENTS)
            until(lambda: folded(site) == len(EVENTS) + 1, 60, "all folded, within the interval", worker)
            psutil.Process(kafka.pid).suspend()
            worker.terminate()
            said, _ = worker.communicate(timeout=STOP_SECONDS + 20)
        kafka.kill()
    assert worker.returncode == 1, said
    assert "held.scores-" in said
    assert "nothing is lost" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("brokers", ["192.0.2.1:9092", "localhost:9092,localhost:9093"])
def test_embedded_needs_a_loopback_address(tmp_path: Path, brokers: str) -> None:
    site = Site(brokers, tmp_path, "own", free_ports())
    done = site.streamfold("run", str(site.file), "--embedded")
    assert done.returncode == 2
    assert brokers in done.stderr


def test_run_is_one_process(site: Site) -> None:
    with site.running() as worker:
        assert psutil.Process(worker.pid).children(recursive=True) == []
        assert end(worker)[0] == 0


def shares(site: Site) -> list[int]:
    """How many partitions of the table each of two workers holds."""
    tables = [ask(port, "/tables/player?limit=0")[1] for port in (site.port, site.port + 1)]
    return [len(table["partitions"]) for table in tables]


def folded(site: Site) -> int:
    """How many source events are folded, committed or not."""
    parts = site.ask("/tables/player?limit=0")[1]["partitions"]
    return sum(part["position"] or 0 for part in parts)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that run."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def answers(port: int) -> bool:
    """Whether anything listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def topics_of(site: Site) -> list[str]:
    """The topics of an app, its sources included."""
    admin = KafkaAdminClient(**ClientSettings(site.brokers).for_kafka_python())
    try:
        found = [topic["name"] if isinstance(topic, dict) else topic for topic in admin.list_topics()]
        return [name for name in found if name.startswith(site.name)]
    finally:
        admin.close()
