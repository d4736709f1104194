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


def test_refused_events_are_told_of_at_the_first_and_then_once_a_minute(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(kafka, topic_prefix)
    monkeypatch.setattr("pipeline.edges.kafka.watch._EVERY_SECONDS", 0.1)

    async def work() -> None:
        async with running(site.app()) as plane:
            site.send(3)
            await drained(site, plane)
            assert "new dead letters" not in caplog.text
            site.send_raw([b"{", b"[1]"])
            await until(lambda: f"new dead letters in {site.name}-dead-letters: " in caplog.text, "it is told", plane)
            site.send_raw([b"{"] * 5)
            await drained(site, plane)
            await asyncio.sleep(0.5)
            assert caplog.text.count("new dead letters") == 1
            assert plane.watch is not None
            plane.watch._letters_due = 0.0
            await until(lambda: caplog.text.count("new dead letters") == 2, "the rest is told", plane)
        told = [record.getMessage() for record in caplog.records if "new dead letters" in record.getMessage()]
        assert sum(int(text.split()[0]) for text in told) == 7
        assert all("(decode)" in text for text in told)

    scenario(work)
