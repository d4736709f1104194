"""What a worker says of its own health."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pipeline.edges.kafka.restore import Restore
from tests.kafka.pipelines import Site, drained, running, scenario, until


def test_a_restore_that_takes_long_says_how_far_it_is(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(kafka, topic_prefix)
    monkeypatch.setattr("pipeline.edges.kafka.watch._TELL_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "pipeline")
    original, go_on = Restore.run, asyncio.Event()

    async def held(restore: Restore) -> object:
        restore.remaining["table"] = 1_234
        await go_on.wait()
        return await original(restore)

    async def work() -> None:
        async with running(site.app()) as plane:
            await drained(site, plane)
        assert "restoring" not in caplog.text
        monkeypatch.setattr(Restore, "run", held)
        async with running(site.app()) as plane:
            await until(lambda: "restoring: 1,234 changelog records to go" in caplog.text, "it is told", plane)
            go_on.set()
            site.send(3)
            await drained(site, plane)

    scenario(work)
