"""Readers that ask as fast as they can, clients that are slow or talk rubbish: folding goes on as it did."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException

import pytest
from kafka import KafkaConsumer, TopicPartition

from tests.faults.arena import PARTITIONS, Arena, until
from tests.faults.conftest import SEED
from tests.kafka.process import ask, is_ready

READERS = 24
SECONDS = 3.0
TRIES = 10
NEARLY_ALL = 0.9
PATHS = (
    "/tables/player/scores-1",
    "/tables/sensor/sensors-1",
    "/tables/player/unknown",
    "/metrics",
    "/tables",
    "/readyz",
)
ANSWERS = {200, 404}


@contextmanager
def _readers(port: int) -> Iterator[Counter[int | str]]:
    """Clients that ask again at once; how often they were answered with which status."""
    stop, answers = threading.Event(), Counter[int | str]()

    def read(number: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        while not stop.is_set():
            path = PATHS[(number + answers.total()) % len(PATHS)]
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                answers[response.status] += 1
            except (OSError, HTTPException) as error:
                answers[repr(error)] += 1
                connection.close()
        connection.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def _slow_clients(port: int) -> Iterator[None]:
    """Some that never end their request, and some that ask for much and never read it."""
    with ExitStack() as stack:
        for number in range(40):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            if number % 2:
                client.sendall(b"POST /tables/player/a/read HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
            else:
                client.setblocking(False)
                _send_what_is_taken(client, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
        yield


def _send_what_is_taken(client: socket.socket, data: bytes) -> None:
    try:
        while data:
            data = data[client.send(data) :]
    except BlockingIOError:
        return


class Progress:
    """How much of what is sent is committed, as a second client sees it."""

    def __init__(self, arena: Arena) -> None:
        self._client = KafkaConsumer(bootstrap_servers=arena.brokers, group_id=arena.name, enable_auto_commit=False)
        self._parts = [TopicPartition(f"{arena.source}-{s}", p) for s, n in PARTITIONS.items() for p in range(n)]

    def kept_up(self) -> float:
        """The events committed in a span of time, as a part of those that were sent meanwhile.

        If it is not nearly all it is looked at again: what folds too slowly doesn't, however often it is looked at.
        """
        parts: list[float] = []
        while len(parts) < TRIES and max(parts, default=0.0) < NEARLY_ALL:
            committed, sent = self._now()
            time.sleep(SECONDS)
            committed_then, sent_then = self._now()
            parts.append((committed_then - committed) / (sent_then - sent))
        return max(parts)

    def _now(self) -> tuple[int, int]:
        return sum(self._client.committed(p) or 0 for p in self._parts), sum(
            self._client.end_offsets(self._parts).values()
        )

    def close(self) -> None:
        self._client.close()


@pytest.mark.timeout(180)
def test_folding_goes_on_while_clients_read_hang_and_do_not_listen(
    arena: Arena, expect_exact: Callable[[], None]
) -> None:
    arena.start(0)
    port = arena.ports[0]
    progress = Progress(arena)
    try:
        with arena.load(rate=2_000):
            until(lambda: is_ready(port), 60, "ready")
            until(lambda: ask(port, PATHS[0])[0] == 200, 60, "the first state")
            quiet = progress.kept_up()
            began = time.monotonic()
            with _readers(port) as answers:
                asked = progress.kept_up()
            rate = answers.total() / (time.monotonic() - began)
            with _slow_clients(port):
                hung = progress.kept_up()
        arena.drained()
    finally:
        progress.close()
    said = f"folded in time {quiet:.2f}, with {rate:.0f} reads a second {asked:.2f}, hung {hung:.2f}"
    print(said)
    assert min(quiet, asked, hung) > NEARLY_ALL, f"SEED={SEED}: {said}"
    assert set(answers) == ANSWERS, f"SEED={SEED}: {answers}"
    assert answers[200] > 10
    expect_exact()


def _rubbish(chance: random.Random) -> tuple[str, str, bytes | None]:
    """A request that is wrong in some way: method, path and body."""
    segment = "".join(chance.choices("abc/%.~:\\'\"<>?#&=+0123456789ABCDEFé", k=chance.randint(1, 60)))
    path = (
        chance.choice(["/", "/tables/", "/tables/player/", "/tables/nobody/"])
        + "nothing-"
        + "".join(character if character.isascii() else "%C3%A9" for character in segment)
    )
    bodies = [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"operator": 1}', b'{"operator": "average", "query": "x"}',
              b'{"operator": "average", "query": [1e999]}', b"[" * 50_000, chance.randbytes(100)]  # fmt: skip
    if chance.random() < 0.5:
        return "GET", path, None
    return chance.choice(["POST", "PUT", "DELETE", "PATCH"]), "/tables/player/scores-1/read", chance.choice(bodies)


def test_whatever_is_wrong_with_a_request_is_its_clients_fault(arena: Arena, expect_exact: Callable[[], None]) -> None:
    chance = random.Random(SEED)
    arena.send(300, keys=2)
    arena.start(0)
    port = arena.ports[0]
    until(lambda: is_ready(port), 60, "it has all partitions, those without events too")
    for _ in range(300):
        method, path, body = _rubbish(chance)
        status, said = ask(port, path, body, method)
        assert 400 <= status < 500, f"SEED={SEED}: {method} {path} {body!r:.80}: {status} {said}"
        assert isinstance(said, dict), said
        assert said["error"], json.dumps(said)
    arena.send(300, keys=2)
    arena.drained()
    expect_exact()
