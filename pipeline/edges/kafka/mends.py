"""What is mended in aiokafka and kafka-python, for every client of this process."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from socket import socket
from typing import Any

import aiokafka.client
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest
from kafka.net.inet import KafkaNetSocket


class LookupOnly(MetadataRequest):  # type: ignore[misc]
    """A metadata request that never makes a topic.

    aiokafka's own asks the broker to create what it does not know, so that a deleted changelog would come back with
    one partition, the wrong clean-up policy and without its rows, under a worker that goes on as if nothing happened.
    """

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


_opened: dict[asyncio.Task[Any] | None, list[AIOKafkaConnection]] = {}
"""By the tasks that bootstrap a client."""

_create_conn = aiokafka.client.create_conn
_bootstrap = AIOKafkaClient.bootstrap


async def _open(*arguments: Any, **options: Any) -> AIOKafkaConnection:
    connection = await _create_conn(*arguments, **options)
    if (opened := _opened.get(asyncio.current_task())) is not None:
        opened.append(connection)
    return connection


async def _bootstrap_or_hang_up(client: AIOKafkaClient) -> None:
    """Bootstrap as aiokafka does, which forgets the connection by which it asks if it is cancelled meanwhile."""
    opened = _opened[asyncio.current_task()] = []
    try:
        await _bootstrap(client)
    except asyncio.CancelledError:
        for connection in opened:
            connection.close()
        raise
    finally:
        del _opened[asyncio.current_task()]


_connect = KafkaNetSocket.sock_connect


async def _connect_or_close(self: KafkaNetSocket, net: Any, sock: socket, *arguments: Any, **options: Any) -> socket:
    """Connect as kafka-python does, which forgets the socket if it fails, or if the client is closed meanwhile."""
    with ExitStack() as unless_connected:
        unless_connected.callback(sock.close)
        connected: socket = await _connect(self, net, sock, *arguments, **options)
        unless_connected.pop_all()
    return connected


# Producers and consumers build their own clients, so the places common to all of them, Faust's too, are these names.
aiokafka.client.MetadataRequest = LookupOnly
aiokafka.client.create_conn = _open
AIOKafkaClient.bootstrap = _bootstrap_or_hang_up
KafkaNetSocket.sock_connect = _connect_or_close
