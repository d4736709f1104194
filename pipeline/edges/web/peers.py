"""The other workers of the group: where they serve HTTP, what they hold, and what they answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
from aiokafka import TopicPartition
from yarl import URL

from pipeline.edges.kafka.plane import Plane
from pipeline.edges.web.address import Address
from pipeline.errors import KafkaStateError

log = logging.getLogger(__name__)

LOCAL = "Streamfold-Local"
"""The header of a request that asks one worker alone: it is not passed on, so no request ever goes in a circle."""

_FRESH_SECONDS = 1.0
_GROUP_SECONDS = 3.0
_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Question:
    """A request to pass on: the path as it is sent, and a body where there is one."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What a worker answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


class Peers:
    """Asks the other members of the group; who they are is asked of Kafka once a second at most.

    The token goes to those alone whom the group names.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._held: Mapping[Address, Collection[TopicPartition]] = {}
        self._looked = -_FRESH_SECONDS
        self._looking = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def others(self) -> list[str]:
        """Where the other members serve HTTP."""
        await self._look()
        return sorted(map(str, self._held))

    async def holding(self, topic: str, partitions: Collection[int]) -> list[Address]:
        """Those whom the group gave one of these partitions; all of them if it gave them to nobody."""
        await self._look()
        wanted = {TopicPartition(topic, number) for number in partitions}
        return [peer for peer, held in self._held.items() if not wanted.isdisjoint(held)] or list(self._held)

    async def ask(self, peers: Sequence[Address], question: Question) -> dict[Address, Reply | None]:
        """What each of them answers, None if it does not; those who are slower than a success are not waited for."""
        asked = {asyncio.ensure_future(self._ask(peer, question)): peer for peer in peers}
        replies: dict[Address, Reply | None] = {}
        waiting = set(asked)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    replies[asked[task]] = reply = task.result()
                    if reply is not None and reply.status is HTTPStatus.OK:
                        return {asked[task]: reply}
            return replies
        finally:
            for task in waiting:
                task.cancel()

    async def close(self) -> None:
        """Ask no more."""
        self._held = {}
        if self._session is not None:
            await self._session.close()

    async def _look(self) -> None:
        """Who is in the group now; what was known before stands while Kafka can't tell."""
        async with self._looking:
            world = self._plane.world
            if world is None or time.monotonic() - self._looked < _FRESH_SECONDS:
                return
            try:
                async with asyncio.timeout(_GROUP_SECONDS):
                    given = await world.ask(world.admin.ask, partial(_given, self._plane.app.group))
            except (KafkaStateError, TimeoutError, RuntimeError) as error:  # the last where this worker stops
                log.debug("the group can't be asked for its members: %s", error)
            else:
                ours = self._plane.settings.client_id
                named = {_address(client): held for client, held in given.items() if client != ours}
                self._held = {address: held for address, held in named.items() if address is not None}
            self._looked = time.monotonic()

    async def _ask(self, peer: Address, question: Question) -> Reply | None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        token = self._plane.app.http_token
        headers = {**question.headers, LOCAL: "1", **({"Authorization": f"Bearer {token}"} if token else {})}
        method = "GET" if question.body is None else "POST"
        try:
            url = URL.build(scheme="http", host=peer.host, port=peer.port)
            url = url.with_path(question.path, encoded=True).with_query(question.query)
            async with self._session.request(
                method, url, data=question.body, headers=headers, allow_redirects=False
            ) as response:
                return Reply(HTTPStatus(response.status), response.content_type, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RuntimeError) as error:
            log.debug("no answer from the worker at %s: %r", peer, error)
            return None


def _given(group: str, admin: Any) -> dict[str, set[TopicPartition]]:
    """What the group gave each client, by their ids; nothing to any while it is rebalanced."""
    given: dict[str, set[TopicPartition]] = {}
    for member in admin.describe_groups([group])[group]["members"]:
        assigned = (member["member_assignment"] or {}).get("assigned_partitions", ())
        given.setdefault(member["client_id"], set()).update(
            TopicPartition(part["topic"], number) for part in assigned for number in part["partitions"]
        )
    return given


def _address(client_id: str) -> Address | None:
    """Where a member serves HTTP; None if its name does not say so."""
    text = Address.of_client_id(client_id)
    try:
        return None if text is None else Address.parse(text)
    except ValueError:
        return None
