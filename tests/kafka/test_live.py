"""``GET /live`` of a running worker: what is committed arrives, within bounds, to those who may see it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.edges.web.board import SHOWN
from pipeline.edges.web.live import ASKED, CONNECTIONS
from tests.fuzz.http import TROUBLE
from tests.kafka.live_stream import PATIENCE, stream
from tests.kafka.process import STREAMFOLD, Site, ask, end, free_ports, process, until
from tests.programs import installed

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "live-page.md"
TOKEN = "a-token-for-the-live-page"


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_ports()
    site = Site(kafka, tmp_path_factory.mktemp("live"), f"live-{port}", port)
    site.make_sources()
    site.send("scores", [(f"early {n}".encode(), {"score": n}) for n in range(3 * SHOWN)])
    with site.running() as worker:
        until(lambda: site.committed() == 3 * SHOWN, PATIENCE, "all committed", worker)
        yield site
        code, said = end(worker)
        assert code == 0, said
        assert not TROUBLE.search(said.encode()), said


def test_it_begins_with_the_status_and_what_was_committed_last(site: Site) -> None:
    with stream(site.port) as live:
        assert live.response.getheader("Content-Type") == "text/event-stream"
        (first, status), (second, rows) = (event for event, _ in zip(live.events(), range(2), strict=False))
    assert (first, second) == ("status", "rows")
    assert (status["app"], status["ready"], status["reasons"]) == (site.name, True, [])
    assert status["tables"]["player"]["keys"] == 3 * SHOWN
    assert status["tables"]["player"]["outputs"] == 3 * SHOWN
    assert status["tables"]["machine"]["operators"] == {
        "memory": {"type": "LinearAttention", "query": {"length": 2, "fields": "k"}}
    }
    assert [part["topic"].removeprefix(site.name) for part in status["partitions"]] == [".machine"] + [".scores"] * 4
    assert len(rows["tables"]["player"]["keys"]) == SHOWN
    assert all(record["games"] == 1 for record in rows["tables"]["player"]["records"])
    with stream(site.port) as live:
        live.until(lambda name, data: name == "status" and all(part["lag"] == 0 for part in data["partitions"]))


def test_what_is_committed_arrives(site: Site) -> None:
    with stream(site.port, "/live?table=player&key=ada&table=player&key=base64:%2FwA%3D") as live:
        for games in (1, 2):
            site.send("scores", [(key, {"score": 10 * games}) for key in (b"ada", b"\xff\x00")])
            live.until_shown("player", "ada", games=games)
        live.until_shown("player", "base64:/wA=", games=2)
        live.until(lambda name, data: name == "status" and data["streams"]["scores"]["events"] >= 4)


def test_a_key_that_is_asked_for_is_shown_though_it_does_not_move(site: Site) -> None:
    for _ in range(2):
        with stream(site.port, "/live?table=player&key=early+0") as live:
            live.until_shown("player", "early 0")


def test_events_that_are_refused_are_counted(site: Site) -> None:
    with stream(site.port) as live:
        site.send("scores", [(b"ada", {"score": "many"})])
        live.until(lambda name, data: name == "status" and data["dead_letters"].get("decode", 0) > 0)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?table=player", 400),
        ("?key=a", 400),
        ("?" + "&".join(["table=player&key=a"] * (ASKED + 1)), 400),
        ("?table=nobody&key=a", 404),
    ],
)
def test_a_wrong_question_says_what_is_wrong(site: Site, query: str, status: int) -> None:
    found, answer = site.ask(f"/live{query}")
    assert found == status
    assert answer["error"]
    assert answer["mend"]


def test_only_so_many_are_served_at_a_time_and_those_that_go_make_room(site: Site) -> None:
    def served() -> bool:
        with stream(site.port) as live:
            return live.response.status == 200

    with ExitStack() as stack:
        until(served, PATIENCE, "those of other tests are gone")
        opened = 0
        while (live := stack.enter_context(stream(site.port))).response.status == 200:
            opened += 1
        assert opened <= CONNECTIONS
        assert live.response.status == 503
        assert "pages are connected" in json.loads(live.response.read())["error"]
        assert site.ask("/livez")[0] == 200
    until(served, PATIENCE, "there is room again")


@pytest.mark.parametrize("language", ["sh", "python"])
def test_the_page_about_it_shows_what_works(site: Site, language: str) -> None:
    site.send("scores", [(b"ada", {"score": 1})])
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block.count("127.0.0.1:6066") == 1
    shown = block.replace("127.0.0.1:6066", f"127.0.0.1:{site.port}")
    command = [installed("sh", "dash"), "-c"] if language == "sh" else [sys.executable, "-u", "-c"]
    if language == "sh":
        installed("curl", "curl")

    def shows() -> bool:
        with process([*command, shown]) as started:
            assert started.stdout is not None
            return any("ada" in line for line in started.stdout)

    # One that shows three seconds of it may come when no page has left yet, or while nothing gets on.
    until(shows, PATIENCE, "the key is shown")


def test_head_ends_at_once(site: Site) -> None:
    assert site.ask("/live", method="HEAD")[0] == 200


def test_nothing_but_the_page_itself_is_told_without_the_token(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    """And a worker that stops waits for none who look at it, and tells those who look before it is ready."""
    site = Site(kafka, tmp_path, topic_prefix, free_ports())
    site.make_sources()
    site.file.write_text(site.file.read_text().replace("[app]\n", f'[app]\nhttp_token = "{TOKEN}"\n'))
    site.send("scores", [(b"quiet", {"score": 1})])
    with site.running() as worker:
        for path in ("/", "/page.js", "/page.css", "/icon.svg"):
            status, told = site.ask(path)
            assert status == 200
            assert site.name not in told
        assert site.ask("/live")[0] == 401
        with stream(site.port, Authorization=f"Bearer {TOKEN}") as live:
            live.until_shown("player", "quiet", games=1)
            code, said = end(worker)
            assert code == 0, said
    with process([*STREAMFOLD, "run", str(site.file)]) as worker:
        until(lambda: answers(site.port), PATIENCE, "it serves HTTP", worker)
        with stream(site.port, Authorization=f"Bearer {TOKEN}") as live:
            live.until_shown("player", "quiet", games=1)


def answers(port: int) -> bool:
    try:
        return ask(port, "/livez")[0] == 200
    except OSError:
        return False
