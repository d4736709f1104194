"""``GET /live`` of a running worker: what is committed arrives, within bounds, to those who may see it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from pipeline.edges.web.board import SHOWN
from pipeline.edges.web.live import ASKED, CONNECTIONS
from tests.fuzz.http import TROUBLE
from tests.kafka.process import STREAMFOLD, Site, ask, end, free_ports, process, until
from tests.programs import installed

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "live-page.md"
PATIENCE = 30.0
TOKEN = "a-token-for-the-live-page"


class Stream:
    """The events of one connection, as they come."""

    def __init__(self, port: int, path: str = "/live", **headers: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.request("GET", path, headers=headers)
        self.response: HTTPResponse = self._connection.getresponse()
        self.shown: dict[tuple[str, str], dict[str, Any]] = {}

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def events(self) -> Iterator[tuple[str, Any]]:
        """Name and data of each event, without end."""
        name = ""
        while line := self.response.readline():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
                if name == "rows":
                    records = ((table, r) for table, told in data["tables"].items() for r in told["records"])
                    self.shown |= {(table, record["key"]): record for table, record in records}
                yield name, data

    def until(self, wanted: Callable[[str, Any], bool]) -> None:
        """Read on to the first event that is wanted."""
        deadline = time.monotonic() + PATIENCE
        for name, data in self.events():
            if wanted(name, data):
                return
            assert time.monotonic() < deadline, "not in time"
        raise AssertionError("the stream ended")

    def until_shown(self, table: str, key: str, **fields: object) -> None:
        """Read on until a key was told of with these fields."""

        def told() -> bool:
            record = self.shown.get((table, key))
            return record is not None and fields.items() <= record.items()

        if not told():
            self.until(lambda name, data: told())


@contextmanager
def stream(port: int, path: str = "/live", **headers: str) -> Iterator[Stream]:
    with closing(Stream(port, path, **headers)) as opened:
        yield opened


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
    assert [part["lag"] for part in status["partitions"]] == [0] * 5
    assert len(rows["tables"]["player"]["keys"]) == SHOWN
    assert all(record["games"] == 1 for record in rows["tables"]["player"]["records"])


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
    with process([*command, shown]) as started:
        assert started.stdout is not None
        assert any("ada" in line for line in started.stdout)


def test_head_ends_at_once(site: Site) -> None:
    assert site.ask("/live", method="HEAD")[0] == 200


def test_nothing_but_the_page_itself_is_told_without_the_token(kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    """And workers name each other, wait for none who look at them when they stop, and tell those who look too early."""
    site = Site(kafka, tmp_path, topic_prefix, free_ports(2))
    site.make_sources()
    site.file.write_text(site.file.read_text().replace("[app]\n", f'[app]\nhttp_token = "{TOKEN}"\n'))
    site.send("scores", [(b"quiet", {"score": 1})])
    with site.running("--workers", "2", ready=2) as worker:
        for path in ("/", "/page.js", "/page.css", "/icon.svg"):
            status, told = site.ask(path)
            assert status == 200
            assert site.name not in told
        assert site.ask("/live")[0] == 401
        with stream(site.port, Authorization=f"Bearer {TOKEN}") as live:
            other = [f"127.0.0.1:{site.port + 1}"]
            live.until(lambda name, data: name == "status" and data["workers"] == other)
            until(lambda: site.committed() == 1, PATIENCE, "all committed", worker)
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
