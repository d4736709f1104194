"""An agent of your own on a table's output: say so when a player's average passes a limit.

    STREAMFOLD_CONFIG=arcade.toml faust -A alerts worker -l info

The pipeline and the agent run in one worker. The agent sees committed results only; it is at least once, so after a
crash it may say the same again.
"""

import logging
from typing import Any

from faust import StreamT

from pipeline.worker import app

LIMIT = 90.0

log = logging.getLogger(__name__)
averages = app.topic(app.config.output(app.config.tables["player"]), value_serializer="json")


@app.agent(averages)
async def watch(results: StreamT[dict[str, Any]]) -> None:
    """Log each result above the limit."""
    async for result in results:
        if result["average"] is not None and result["average"] > LIMIT:
            log.warning("%s averages %.1f after %d games", result["key"], result["average"], result["games"])
