"""A Faust app of its own that tells when a player's average passes a limit, away from the pipeline's workers.

    TOPIC=player-averages faust -A examples.downstream.alert_agent worker --loglevel info

Stock Faust reads what is not committed yet, and what was taken back. With streamfold installed, its brokers can be
named as `committed://`, and it reads committed records only.
"""

import logging
import os
from typing import Any

import faust

LIMIT = float(os.environ.get("LIMIT", "90"))

log = logging.getLogger(__name__)
app = faust.App(
    os.environ.get("GROUP", "average-alerts"),
    broker=f"committed://{os.environ.get('KAFKA', 'localhost:9092')}",
    topic_disable_leader=True,  # no topics of Faust's own
    web_enabled=False,
)
averages = app.topic(os.environ.get("TOPIC", "player-averages"), key_serializer="raw", value_serializer="json")


@app.agent(averages)
async def watch(results: faust.StreamT[dict[str, Any] | None]) -> None:
    """Say so for each result above the limit; after a crash it may say the same again."""
    async for result in results:
        if result is None:  # the key's state was deleted
            continue
        if result["average"] is not None and result["average"] > LIMIT:
            log.warning("%s averages %s after %d games", result["key"], result["average"], result["games"])
