"""Empties the topics between hops and tables behind the committed offset."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from pipeline.errors import KafkaStateError

if TYPE_CHECKING:
    from pipeline.edges.kafka.plane import Plane

log = logging.getLogger(__name__)

PURGE_SECONDS = 30.0


async def purge(plane: Plane) -> None:
    """Every half minute, until cancelled, let the records go whose fold is committed.

    Only what the state itself is past of: what a coordinator says of the group's offset may be of long ago, or gone.
    """
    world = plane.world
    assert world is not None
    purged: dict[TopicPartition, int] = {}
    while True:
        await asyncio.sleep(PURGE_SECONDS)
        folded = {
            tp: task.committed
            for tp, task in plane.tasks.items()
            if task.committed is not None and world.stream_of(tp.topic).internal
        }
        before = {tp: offset for tp, offset in folded.items() if offset > purged.get(tp, 0)}
        if not before:
            continue
        try:
            await world.ask(world.admin.delete_records, before)
        except KafkaStateError as error:
            log.warning("what is folded can't be deleted, it will be later: %s", error.cause)
        else:
            purged.update(before)
