"""A count by key as Faust's own documentation writes it: a table, an agent, an output topic. Nothing else is in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import faust

app = faust.App(
    os.environ["FAUST_NAME"],
    broker=f"kafka://{os.environ['FAUST_BROKERS']}",
    processing_guarantee=os.environ["FAUST_GUARANTEE"],
    broker_session_timeout=float(os.environ["FAUST_SESSION"]),
    broker_heartbeat_interval=float(os.environ["FAUST_SESSION"]) / 5,
    topic_partitions=int(os.environ["FAUST_PARTITIONS"]),
    topic_replication_factor=1,
    datadir=os.environ["FAUST_DATA"],
)
scores = app.topic(os.environ["FAUST_SOURCE"], key_type=str, value_serializer="json")
published = app.topic(f"{os.environ['FAUST_NAME']}-counts", key_type=str, value_serializer="json")
counts = app.Table("counts", default=int)


@app.agent(scores)
async def count(events: Any) -> None:
    """Count the events of each key, and publish every count."""
    stream: AsyncIterator[tuple[str, Any]] = events.items()
    async for key, _ in stream:
        counts[key] += 1
        await published.send(key=key, value={"key": key, "games": counts[key]})


if __name__ == "__main__":
    app.main()
