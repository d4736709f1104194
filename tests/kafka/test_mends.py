"""What kafka-python would leave to the collector is closed at once."""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from types import coroutine

import pytest
from kafka.errors import KafkaConnectionError
from kafka.net.inet import KafkaNetSocket

from pipeline.edges.kafka import mends  # noqa: F401

LOOPBACK = "127.0.0.1"
FILLERS = 4


@pytest.fixture
def busy() -> Iterator[tuple[str, int]]:
    """Nobody who comes here is let in: those before fill the queue."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(FILLERS):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


class Waits:
    """An event loop that has not come back yet."""

    @coroutine
    def wait_write(self, sock: socket.socket, timeout_at: float | None = None) -> Generator[None, None, None]:
        yield


def test_a_socket_is_closed_whose_client_ends_while_it_connects(busy: tuple[str, int]) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        connecting = KafkaNetSocket().sock_connect(Waits(), sock, busy)
        connecting.send(None)
        connecting.close()
        assert sock.fileno() == -1


def test_a_socket_is_closed_that_nobody_answers() -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        nobody = gone.getsockname()
    with socket.socket() as sock:
        with pytest.raises(KafkaConnectionError):
            KafkaNetSocket().sock_connect(Waits(), sock, nobody).send(None)
        assert sock.fileno() == -1
