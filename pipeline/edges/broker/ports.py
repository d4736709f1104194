"""Ports to listen on."""

from __future__ import annotations

import random
import socket

from pipeline.errors import InputError, RunError

# Below the ranges from which systems take the ports of outgoing connections: else, while a broker restarts, one of its
# own clients could get its port, or even be connected to itself.
_RANGE = range(20_000, 30_000)
_TRIES = 200


def check_free(host: str, port: int) -> None:
    """Raise InputError unless this process could listen on ``host:port``."""
    # As servers do: connections of an earlier run that still fade away are no obstacle.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise InputError(
                f"the broker cannot listen on {host}:{port}: {error.strerror}",
                "choose another port, or end what listens there",
            ) from error


def free_port(host: str, *others: int) -> int:
    """A port of ``host`` on which nothing listens at the moment, and none of the ``others``."""
    for port in random.sample([port for port in _RANGE if port not in others], _TRIES):
        try:
            check_free(host, port)
        except InputError:
            continue
        return port
    raise RunError(f"no free port was found on {host} between {_RANGE.start} and {_RANGE.stop}")
