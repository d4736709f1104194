"""What a running worker answers over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings

from pipeline.edges.web.admission import TOGETHER, Turns
from pipeline.edges.web.formats import wanted
from scripts.reference import http
from tests.fuzz.http import INPUTS, TROUBLE, check
from tests.kafka.process import Site, end, free_ports, until

PAIRS = [([1, 0], [3, 4]), ([0, 2], [5, 6]), ([1, 1], [7, 8])]


@pytest.fixture(scope="module")
def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_ports()
    site = Site(kafka, tmp_path_factory.mktemp("http"), f"http-{port}", port)
    site.make_sources()
    site.send("scores", [(key, {"score": score}) for key in (b"a", b"b/c", b"\xff\x00") for score in (1, 2, 6)])
    site.send("machine", [(b"m", {"k": k, "v": v}) for k, v in PAIRS])
    with site.running() as worker:
        until(lambda: site.committed() == 12, 60, "all committed", worker)
        yield site
        _, said = end(worker)
        assert not TROUBLE.search(said.encode()), said


def test_live_and_ready(site: Site) -> None:
    assert site.ask("/livez") == (200, {"live": True})
    assert site.ask("/readyz") == (200, {"ready": True, "reasons": []})


def test_metrics_are_those_of_the_registry(site: Site) -> None:
    status, text = site.ask("/metrics")
    assert status == 200
    assert 'streamfold_outputs_total{table="player"} 9.0' in text
    until(lambda: "streamfold_ready 1.0" in site.ask("/metrics")[1], 60, "the gauge, which is set once a second")


def test_a_key_shows_its_record_its_state_and_what_is_committed(site: Site) -> None:
    status, entry = site.ask("/tables/player/a")
    assert status == 200
    assert (entry["key"], entry["games"], entry["average"]) == ("a", 3, 3.0)
    assert entry["state"]["average"] == {"count": 3, "mean": 3.0}
    assert entry["committed"] > entry["offset"]


def test_the_worked_example_of_linear_attention(site: Site) -> None:
    _, entry = site.ask("/tables/machine/m")
    assert entry["state"] == {"memory": {"mu": [[10, 12], [17, 20]], "nu": [2, 3]}}
    body = b'{"operator": "memory", "query": [1, 1]}'
    assert site.ask("/tables/machine/m/read", body) == (200, {"value": [5.4, 6.4]})


def test_a_read_without_a_query_gives_the_newest_result(site: Site) -> None:
    assert site.ask("/tables/player/a/read", b'{"operator": "average"}') == (200, {"value": 3.0})


def test_an_undefined_read_out_is_null(site: Site) -> None:
    body = b'{"operator": "memory", "query": [0, 0]}'
    assert site.ask("/tables/machine/m/read", body) == (200, {"value": None})


@pytest.mark.parametrize("segment", ["b%2Fc", "b%2fc", "%62%2Fc"])
def test_a_key_may_hold_a_slash(site: Site, segment: str) -> None:
    assert site.ask(f"/tables/player/{segment}")[1]["key"] == "b/c"


@pytest.mark.parametrize("segment", ["%FF%00", "base64:%2FwA="])
def test_a_key_may_be_bytes_that_are_not_text(site: Site, segment: str) -> None:
    status, entry = site.ask(f"/tables/player/{segment}")
    assert (status, entry["key"]) == (200, "base64:/wA=")


def test_tables_list_what_is_held(site: Site) -> None:
    status, answer = site.ask("/tables")
    assert status == 200
    assert set(answer["tables"]) == {"player", "machine"}
    assert [part["partition"] for part in answer["tables"]["player"]["partitions"]] == [0, 1, 2, 3]
    assert sum(part["keys"] for part in answer["tables"]["player"]["partitions"]) == 3


def test_keys_of_a_table_by_pages_and_by_prefix(site: Site) -> None:
    def pages(query: str) -> list[list[str]]:
        found = list[list[str]]()
        link: str | None = query
        while link is not None:
            answer = site.ask(f"/tables/player{link}")[1]
            found.append(answer["keys"])
            link = answer["next"]
        return found

    (everything,) = pages("")
    assert sorted(everything) == ["a", "b/c", "base64:/wA="]
    one_by_one = [keys for keys in pages("?limit=1") if keys]
    assert one_by_one == [[key] for key in everything]
    assert pages("?prefix=b%2F") == [["b/c"]]
    assert pages("?limit=0") == [[]]


@pytest.mark.parametrize("name", ["application/msgpack", "application/vnd.msgpack", "application/x-msgpack"])
def test_answers_and_problems_are_messagepack_for_those_who_want_it(site: Site, name: str) -> None:
    def fetch(path: str, body: bytes | None = None) -> tuple[int, str | None, Any]:
        connection = HTTPConnection("127.0.0.1", site.port, timeout=30)
        with closing(connection):
            connection.request("GET" if body is None else "POST", path, body, {"Accept": name, "Content-Type": name})
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type"), msgspec.msgpack.decode(response.read())

    _, entry = site.ask("/tables/player/a")
    assert fetch("/tables/player/a") == (200, name, entry)
    assert fetch("/tables/player/unknown") == (404, name, site.ask("/tables/player/unknown")[1])
    path, undefined = "/tables/machine/m/read", {"operator": "memory", "query": [0, 0]}
    assert fetch(path, msgspec.msgpack.encode(undefined)) == (200, name, {"value": None})
    assert fetch(path, b"\xc1")[:2] == (400, name)
    assert fetch(path, b"\xa1\xff")[:2] == (400, name)
    assert fetch(path, msgspec.msgpack.encode({"operator": 1}))[:2] == (422, name)


@pytest.mark.parametrize("accept", ["*/*", "application/msgpack"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tables/player/a", None),
        ("/tables/player/b%2fc", None),
        ("/tables/player/base64:%2FwA=", None),
        ("/tables/player/a/read", b'{"operator": "average"}'),
        ("/tables/machine/m/read", b'{"operator": "memory", "query": [1, 1]}'),
        ("/tables/machine/m/read", b'{"operator": "memory", "query": [0, 0]}'),
    ],
)
def test_a_look_up_is_answered_alike_on_the_short_way_and_on_the_long_one(
    site: Site, path: str, body: bytes | None, accept: str
) -> None:
    def fetch(**headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", site.port, timeout=30)
        with closing(connection):
            connection.request("GET" if body is None else "POST", path, body, {"Accept": accept, **headers})
            response = connection.getresponse()
            return response.status, {**dict(response.getheaders()), "Date": ""}, response.read()

    short, long = fetch(), fetch(Origin="http://elsewhere")
    assert short == long
    assert short[0] == 200


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json, application/msgpack", "application/json"),
        ("application/msgpack;q=0.5, application/json;q=0.6", "application/json"),
        ("application/msgpack;q=0", "application/json"),
        ("application/msgpack;q=x", "application/json"),
        ("text/html, Application/X-MsgPack;q=0.1", "application/x-msgpack"),
        ("application/vnd.msgpack;q=1, application/msgpack;q=0.9, */*", "application/vnd.msgpack"),
    ],
)
def test_the_format_is_the_one_that_is_wanted_most(accept: str, kind: str) -> None:
    assert wanted(accept) == kind


@pytest.mark.docs
def test_the_examples_of_the_reference_are_answered_so(site: Site) -> None:
    def lasting(answer: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in answer.items() if name not in ("topic", "output", "time")}

    page = http.PAGE.read_text("utf-8")
    examples = re.findall(r"^```sh\ncurl (.*?)\n```\n(?:\n```json\n(.*?)^```)?", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == len(http.EXAMPLES)
    for command, shown in examples:
        url, *options = shlex.split(command)
        assert options[:1] in ([], ["-d"])
        status, answer = site.ask(url.removeprefix(http.BASE), options[1].encode() if options else None)
        assert status == 200, url
        if shown:
            assert lasting(answer) == lasting(json.loads(shown)), url


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nowhere", None, 404),
        ("/table/player", None, 404),
        ("/tables/nobody", None, 404),
        ("/tables/nobody/a", None, 404),
        ("/tables/player/unknown", None, 404),
        ("/tables/player/base64:%2A", None, 404),
        ("/tables/player/a/read", None, 405),
        ("/livez", b"{}", 405),
        ("/tables/player?limit=-1", None, 400),
        ("/tables/player?limit=10001", None, 400),
        ("/tables/player?cursor=x", None, 400),
        ("/tables/player?cursor=0.9223372036854775807", None, 400),
        ("/tables/player?cursor=4.0", None, 400),
        ("/tables/player?limit=" + "9" * 5_000, None, 400),
        ("/tables/player/a/read", b'{"operator": ', 400),
        ("/tables/player/a/read", b"\xff", 400),
        ("/tables/player/a/read", b"[]", 422),
        ("/tables/player/a/read", b'{"query": [1]}', 422),
        ("/tables/player/a/read", b'{"operator": "average", "qeury": [1]}', 422),
        ("/tables/player/a/read", b'{"operator": "average", "query": [1]}', 422),
        ("/tables/player/a/read", b'{"operator": "nothing"}', 404),
        ("/tables/player/unknown/read", b'{"operator": "average"}', 404),
        ("/tables/machine/m/read", b'{"operator": "memory", "query": [1]}', 422),
        ("/tables/machine/m/read", b'{"operator": "memory", "query": ["x", 1]}', 422),
        ("/tables/machine/m/read", b" " * 1_100_000, 413),
    ],
)
def test_a_wrong_request_says_what_is_wrong(site: Site, path: str, body: bytes | None, status: int) -> None:
    found, answer = site.ask(path, body)
    assert found == status
    assert answer["error"]
    assert answer["mend"]


def test_the_longest_key_can_be_asked_and_nothing_longer(site: Site) -> None:
    assert site.ask(f"/tables/player/{'%00' * 4096}")[0] == 404
    status, answer = site.ask(f"/tables/player/{'%00' * 5000}")
    assert (status, answer["error"]) == (414, "the path has 15015 bytes")
    status, said = site.ask(f"/tables/player/{'%00' * 100_000}")
    assert status == 400
    assert len(said) < 1_000


@settings(max_examples=30)
@given(INPUTS)
def test_whatever_comes_in_what_goes_out_is_http_that_blames_the_asker(site: Site, chunks: list[bytes]) -> None:
    check(site.port, chunks)


def test_rubbish_ends_in_a_refusal(site: Site) -> None:
    for rubbish in (b"\x16\x03\x01 no TLS here\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 9_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
            connection.sendall(rubbish)
            assert connection.recv(100).startswith(b"HTTP/1.0 400 ")
    assert site.ask("/livez")[0] == 200


@pytest.mark.parametrize("segment", [b"\xff", b"%zz", b"\xed\xa0\x80", b"base64:\xff", b"a#b", b"%"])
def test_a_key_that_is_no_text_of_a_path_holds_nobody_up(site: Site, segment: bytes) -> None:
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
            connection.sendall(b"GET /tables/player/" + segment + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            assert connection.recv(100).startswith((b"HTTP/1.1 ", b"HTTP/1.0 400 "))
    assert site.ask("/tables/player/a")[0] == 200


@pytest.mark.parametrize("committing", [True, False])
def test_requests_that_come_during_a_commit_begin_together_later_and_not_all_at_once(committing: bool) -> None:
    begun = list[float]()

    async def handler(_: web.Request) -> web.Response:
        begun.append(asyncio.get_running_loop().time())
        return web.Response()

    async def work() -> None:
        wait = Turns(lambda: committing).middleware
        asked = [asyncio.ensure_future(wait(make_mocked_request("GET", "/"), handler)) for _ in range(100)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(begun) == (0 if committing else 100)
        asked[5].cancel()
        await asyncio.wait(asked)

    asyncio.run(work())
    assert len(begun) == (99 if committing else 100)
    together = 1 + sum(later - before > 0.0015 for before, later in pairwise(begun))
    assert (together >= 2) is committing


def test_requests_that_come_during_a_commit_begin_when_it_waits_for_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.edges.web.admission._WAIT_SECONDS", 0.2)
    begun, committing = list[str](), True

    async def work() -> None:
        nonlocal committing
        turns = Turns(lambda: committing)
        turns.lull()
        turns.begin(lambda: begun.append("first"))
        turns.begin(lambda: begun.append("second"))
        await asyncio.sleep(0)
        assert not begun
        committing = False
        turns.begin(lambda: begun.append("third"))
        assert not begun, "one behind the other"
        turns.lull()
        assert begun == ["first", "second", "third"]
        turns.begin(lambda: begun.append("at once"))
        assert begun.pop() == "at once"
        committing = True
        for number in range(TOGETHER + 1):
            turns.begin(partial(begun.append, str(number)))
        turns.lull()
        assert len(begun) == 3 + TOGETHER, "not all at once"
        turns.lull()
        assert len(begun) == 3 + TOGETHER + 1

    asyncio.run(work())


def test_nobody_waits_for_a_commit_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.edges.web.admission._WAIT_SECONDS", 0.2)

    async def work() -> None:
        turns, begun, loop = Turns(lambda: True), list[float](), asyncio.get_running_loop()
        turns.begin(lambda: None)
        await asyncio.sleep(0.15)
        turns.lull()
        began, last = loop.time(), asyncio.Event()
        for _ in range(TOGETHER):
            turns.begin(lambda: begun.append(loop.time()))
        turns.begin(last.set)
        async with asyncio.timeout(30):
            await last.wait()
        assert begun[0] - began > 0.19, "the patience with the commit before is over, and not with this one"

    asyncio.run(work())


def test_head_and_the_methods_that_are_allowed(site: Site) -> None:
    assert site.ask("/livez", method="HEAD")[0] == 200
    assert site.ask("/tables/player/a", method="DELETE")[0] == 405


def test_query_prints_a_key(site: Site) -> None:
    done = site.streamfold("query", str(site.file), "player", "b/c", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["average"] == 3.0
    assert "average    3.0" in site.streamfold("query", str(site.file), "player", "b/c").stdout


def test_query_reads_a_memory(site: Site) -> None:
    options = ("--operator", "memory", "--read", "[1, 1]", "--json")
    done = site.streamfold("query", str(site.file), "machine", "m", *options)
    assert json.loads(done.stdout) == {"value": [5.4, 6.4]}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("player", "unknown"), 1, "no such key"),
        (("nobody", "a"), 2, "expected one of player, machine"),
        (("player", "a", "--operator", "nothing"), 2, "expected one of games, average"),
        (("player", "a", "--read", "[1]"), 2, "--operator"),
        (("machine", "m", "--operator", "memory", "--read", "1, 1"), 2, "a list of numbers"),
        (("machine", "m", "--operator", "memory", "--read", "[1]"), 2, "takes 2"),
    ],
)
def test_query_says_what_is_wrong(site: Site, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = site.streamfold("query", str(site.file), *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_query_without_a_worker_says_so(kafka: str, tmp_path: Path) -> None:
    site = Site(kafka, tmp_path, "nobody-home", free_ports())
    done = site.streamfold("query", str(site.file), "player", "a")
    assert done.returncode == 1
    assert "no worker answers" in done.stderr
