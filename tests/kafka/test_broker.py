"""The embedded broker: it starts, keeps its data, says what is wrong, and never outlives its owner."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from pipeline.edges.broker import EmbeddedKafka, ports
from pipeline.edges.broker.distribution import class_path, default_cache, locked_jars
from pipeline.edges.broker.ports import free_port
from pipeline.errors import InputError, KafkaStateError, RunError

LOOPBACK = "127.0.0.1"
COMMAND = [sys.executable, "-c", "from pipeline.cli.broker import command; command()"]
OWNER = """
import sys, time
from pipeline.edges.broker import EmbeddedKafka
broker = EmbeddedKafka().start()
print(broker.pid, broker.log_path.parent, flush=True)
time.sleep(600)
"""
FETCH = """
import pathlib, sys
from pipeline.edges.broker.distribution import class_path
class_path(pathlib.Path(sys.argv[1]))
"""


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def runs(pid: int) -> bool:
    # A process that has ended counts as one until its parent, by then the system's first process, takes note.
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def write(address: str, topic: str, value: bytes) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=address)
    producer.send(topic, value).get(timeout=20)
    producer.close()


def read(address: str, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=5_000, group_id=None
    )
    try:
        return [next(consumer).value]
    except StopIteration:
        return []
    finally:
        consumer.close()


def test_data_outlive_a_stop_and_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One random identity in 64 begins with a dash, which must not be taken for an option.
    monkeypatch.setattr("pipeline.edges.broker.embedded.new_cluster_id", lambda: "-yPWS9_gSuy5n6knPTxPtg")
    # Separators of Kafka's settings and letters beyond ASCII in the path are no obstacle.
    with EmbeddedKafka(data=tmp_path / "a folder, né = data") as broker:
        address = broker.address
        write(address, "kept", b"one")
        broker.stop()
        broker.start()
        assert read(address, "kept") == [b"one"]
        broker.kill()
        broker.start()
        assert broker.address == address
        assert read(address, "kept") == [b"one"]
    assert broker.log_path.exists()


def test_a_temporary_folder_survives_a_kill_and_goes_with_the_stop() -> None:
    broker = EmbeddedKafka().start()
    folder = broker.log_path.parent
    write(broker.address, "kept", b"one")
    broker.kill()
    assert folder.exists()
    broker.start()
    assert read(broker.address, "kept") == [b"one"]
    broker.stop()
    assert not folder.exists()


def test_a_second_start_is_refused_and_so_is_asking_before_the_first(kafka: str) -> None:
    broker = EmbeddedKafka()
    for ask in (lambda: broker.address, lambda: broker.log_path, lambda: broker.pid, broker.wait):
        with pytest.raises(RunError):
            ask()
    broker.stop()
    with broker, pytest.raises(RunError, match="running already"):
        broker.start()


def test_a_port_in_use_is_the_users_error_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"{LOOPBACK}:{port}"):
            EmbeddedKafka(port, tmp_path / "data").start()
    assert not (tmp_path / "data").exists()


def test_a_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds other files"):
        EmbeddedKafka(data=tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_another_broker_uses_is_refused(tmp_path: Path) -> None:
    with EmbeddedKafka(data=tmp_path) as first, pytest.raises(InputError, match="another broker"):
        EmbeddedKafka(data=tmp_path).start()
    assert first.log_path.exists()


def test_a_setting_that_kafka_refuses_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(KafkaStateError, match=r"log\.segment\.bytes") as refused:
        EmbeddedKafka(data=tmp_path, properties={"log.segment.bytes": "many"}).start()
    assert str(tmp_path) in refused.value.mend


def test_a_start_that_takes_too_long_ends_with_nothing_left_running(tmp_path: Path) -> None:
    with EmbeddedKafka(data=tmp_path) as broker:
        assert len(inside(tmp_path)) == 2
    with pytest.raises(KafkaStateError, match="in time"):
        broker.start(timeout=0.3)
    with pytest.raises(RunError, match="not running"):
        broker.wait()
    assert eventually(lambda: not inside(tmp_path))


def inside(folder: Path) -> list[int]:
    """The processes that work in this folder, as a broker and its watchdog do in that of the data."""
    return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_kafka_ends_with_its_owner_however_that_ends(ending: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    assert runs(int(pid))
    owner.send_signal(ending)
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: not runs(int(pid)))
    assert eventually(lambda: not Path(folder).exists())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_its_address_and_ends_cleanly(ending: signal.Signals, tmp_path: Path) -> None:
    port = free_port(LOOPBACK)
    command = [*COMMAND, "--port", str(port), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert f"{LOOPBACK}:{port}" in process.stdout.readline()
    write(f"{LOOPBACK}:{port}", "events", b"one")
    process.send_signal(ending)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    with socket.socket() as again:
        assert again.connect_ex((LOOPBACK, port)) != 0


def test_a_port_is_none_of_the_others_and_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    other = free_port(LOOPBACK)
    free = free_port(LOOPBACK, other)
    with socket.create_server((LOOPBACK, 0)) as server:
        monkeypatch.setattr(ports, "_RANGE", [other, free, server.getsockname()[1]])
        monkeypatch.setattr(ports, "_TRIES", 2)
        assert {free_port(LOOPBACK, other) for _ in range(30)} == {free}


@pytest.fixture
def cache(kafka: str, tmp_path: Path) -> Path:
    """A copy of the user's cache, which is complete once a broker has been started."""
    class_path()
    return Path(shutil.copytree(default_cache(), tmp_path / "cache"))


@pytest.fixture
def repository(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on loopback with all locked jars, which is the only one that the resolver knows."""
    root = tmp_path / "repository"
    for jar in locked_jars():
        group, artifact, version = jar.coordinate.split(":")
        folder = root.joinpath(*group.split("."), artifact, version)
        folder.mkdir(parents=True)
        shutil.copy(cache / jar.name, folder)
    with ThreadingHTTPServer((LOOPBACK, 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use_repository(f"http://{LOOPBACK}:{server.server_port}", tmp_path, monkeypatch)
        yield root
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def use_repository(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".jgorc").write_text(f"[repositories]\ncentral = {url}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def test_missing_and_damaged_jars_are_fetched_again_and_the_others_left(repository: Path, cache: Path) -> None:
    gone, damaged, whole, *_ = [cache / jar.name for jar in locked_jars()]
    untouched = whole.stat().st_mtime_ns
    gone.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = damaged.stat().st_size
    assert class_path(cache) == [cache / jar.name for jar in locked_jars()]
    assert damaged.stat().st_size == before + 1
    assert whole.stat().st_mtime_ns == untouched
    assert not list(cache.glob(".fetch-*"))


def test_a_jar_with_other_bytes_than_the_locked_is_refused(repository: Path, cache: Path) -> None:
    jar = locked_jars()[0]
    (cache / jar.name).unlink()
    served = next(repository.rglob(jar.name))
    served.write_bytes(served.read_bytes() + b"\0")
    with pytest.raises(KafkaStateError, match="is not the file that is locked"):
        class_path(cache)
    assert not (cache / jar.name).exists()


def test_two_first_starts_at_once_both_get_everything(repository: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    both = [subprocess.Popen([sys.executable, "-c", FETCH, str(empty)], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert sorted(path.name for path in empty.iterdir()) == sorted(jar.name for jar in locked_jars())


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_repository(f"http://{LOOPBACK}:{free_port(LOOPBACK)}", tmp_path, monkeypatch)
    with pytest.raises(KafkaStateError, match=r"cannot be fetched.*refused") as unreachable:
        class_path(tmp_path / "empty")
    assert "`brokers`" in unreachable.value.mend
    assert not list((tmp_path / "empty").iterdir())
