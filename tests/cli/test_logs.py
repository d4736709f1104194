"""What is logged: as text or JSON, with tracebacks for those who ask."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from pipeline.cli.logs import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("pipeline", "operators", "kafka.net.selector"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def log_some() -> None:
    logging.getLogger("pipeline.test").info("folded %d", 3)
    logging.getLogger("aiokafka").info("chatter")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("pipeline.test").exception("failed")


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    Settings().apply()
    log_some()
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.endswith("Z info    pipeline.test: folded 3")
    assert second.endswith("Z error   pipeline.test: failed")
    assert third == "  ValueError: two lines"


def test_a_library_that_finds_the_machine_slow_is_heard_only_by_those_who_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = logging.getLogger("kafka.net.selector")
    Settings().apply()
    slow.warning("it is blocking the event loop")
    logging.getLogger("kafka.client").warning("a node is away")
    assert "blocking" not in (said := capsys.readouterr().err)
    assert "a node is away" in said
    Settings(debug=True).apply()
    slow.warning("it is blocking the event loop")
    assert "blocking" in capsys.readouterr().err


def test_a_group_without_a_coordinator_is_news_when_that_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    coordinator = logging.getLogger("aiokafka.consumer.group_coordinator")

    def heard(after: float, message: str = "Group Coordinator Request failed: %s") -> bool:
        record = coordinator.makeRecord(coordinator.name, logging.ERROR, "", 0, message, ("not available",), None)
        record.created = 1_000_000_000 + after
        coordinator.handle(record)
        return "not available" in capsys.readouterr().err

    Settings().apply()
    assert [heard(seconds) for seconds in (0, 0.1, 4.9, 5.1, 8)] == [False, False, False, True, True]
    assert [heard(seconds) for seconds in (60, 64, 66)] == [False, False, True], "another time"
    assert heard(100, "Heartbeat failed: %s")
    Settings(debug=True).apply()
    assert heard(200)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    Settings(form="json", level="error").apply()
    log_some()
    (line,) = capsys.readouterr().err.splitlines()
    made = json.loads(line)
    assert (made["level"], made["logger"], made["message"]) == ("error", "pipeline.test", "failed")
    assert made["error"] == "ValueError: two lines"


def test_debug_shows_tracebacks_and_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    Settings(debug=True).apply()
    log_some()
    text = capsys.readouterr().err
    assert "aiokafka: chatter" in text
    assert "Traceback" in text
