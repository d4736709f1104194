"""What workers of one group answer for each other over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urljoin

import msgspec
import pytest
from kafka import KafkaProducer

from pipeline.core.hop import home_of
from pipeline.edges.kafka.admin import Admin
from pipeline.edges.kafka.client import ClientSettings
from pipeline.edges.kafka.topic_spec import TopicSpec
from pipeline.edges.web.keys import segment_of
from pipeline.edges.web.peers import LOCAL
from tests.fuzz.http import TROUBLE
from tests.kafka.process import STREAMFOLD, Answer, Site, ask, end, free_ports, is_ready, process, until

TOKEN = "the-token-of-these-tests"
PLAYERS = [f"player-{n}" for n in range(24)]
TEAMS = ("red", "green", "blue", "b/w", "black")
PATHS = [*(f"player/{key}" for key in PLAYERS), *(f"team/{segment_of(team)}" for team in TEAMS)]

REPARTITIONED = """
[streams.games]
topic = "{name}.games"
key = "team"
repartition = true

[tables.team]
stream = "games"
[tables.team.operators]
games = {{ type = "count" }}
best = {{ type = "max", value = "x" }}
"""

HELD = """
import asyncio, os, sys
from pathlib import Path
from pipeline import run
from pipeline.core.config.load import load
from pipeline.edges.kafka.restore import Restore

until, file = sys.argv[1:]
original = Restore.run

async def held(restore):
    while not Path(until).exists():
        restore.remaining["player"] = 1_234
        await asyncio.sleep(0.05)
    return await original(restore)

Restore.run = held
run(load(Path(file), os.environ))
"""
"""A worker whose restores wait for a file to appear."""


@dataclass
class Pair:
    """Two workers of an app, and what each said while the second one restored what it was given."""

    site: Site
    folder: Path
    meanwhile: Mapping[int, Sequence[Answer]] = field(default_factory=dict)

    @property
    def ports(self) -> tuple[int, int]:
        return self.site.port, self.site.port + 1

    def ask(self, port: int, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return ask(port, path, body, headers={"Authorization": f"Bearer {TOKEN}", **headers})

    def alone(self, port: int, path: str) -> Answer:
        """What a worker says that may not ask others."""
        return ask(port, path, headers={"Authorization": f"Bearer {TOKEN}", LOCAL: "yes"})

    def run(self, number: int, *command: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """A further worker; ``command`` runs another one than `streamfold run`."""
        text = self.site.file.read_text().replace(f":{self.site.port}", f":{self.site.port + number}")
        file = self.folder / f"worker-{number}.toml"
        file.write_text(text)
        return process([*(command or (*STREAMFOLD, "run")), str(file)])

    def held(self, port: int, table: str = "player") -> set[int]:
        """The partitions of a table that a worker has."""
        answer = self.ask(port, "/tables")[1]
        return {part["partition"] for part in answer["tables"][table]["partitions"]}

    def tells_all(self, port: int) -> bool:
        return all(self.ask(port, f"/tables/{path}")[0] == 200 for path in PATHS)

    def pages(self, port: int, path: str) -> Iterator[list[str]]:
        """The keys of a listing, page by page."""
        link: str | None = ""
        while link is not None:
            status, answer = self.ask(port, urljoin(path, link))
            assert status == 200, answer
            yield answer["keys"]
            link = answer["next"]


def configured(kafka: str, folder: Path) -> Site:
    port = free_ports(3)
    site = Site(kafka, folder, f"group-{port}", port)
    text = site.file.read_text().replace("[app]\n", f'[app]\nhttp_token = "{TOKEN}"\n')
    site.file.write_text(text + REPARTITIONED.format(name=site.name))
    site.make_sources()
    with closing(Admin(ClientSettings(kafka))) as admin:
        admin.create([TopicSpec.source(f"{site.name}.games", 3)])
    site.send("scores", [(key.encode(), {"score": n}) for n, key in enumerate(PLAYERS)])
    with closing(KafkaProducer(bootstrap_servers=kafka)) as producer:
        for n in range(20):
            producer.send(f"{site.name}.games", json.dumps({"team": TEAMS[n % len(TEAMS)], "x": n}).encode())
        producer.flush()
    return site


@pytest.fixture(scope="module")
def pair(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("group")
    pair = Pair(configured(kafka, folder), folder)
    first, second = pair.ports
    go_on = folder / "go-on"

    def restores() -> bool:
        """Whether the second worker has something to restore, and the first one still has something."""
        try:
            parts = pair.ask(second, "/tables")[1]["tables"]["player"]["partitions"]
        except OSError:
            return False
        return any(part["remaining"] == 1_234 for part in parts) and 0 < len(pair.held(first)) < 4

    with ExitStack() as stack:
        worker = stack.enter_context(process([*STREAMFOLD, "run", str(pair.site.file)]))
        until(lambda: is_ready(first), 60, "ready", worker)
        until(lambda: pair.tells_all(first), 60, "all folded", worker)
        late = stack.enter_context(pair.run(1, sys.executable, "-c", HELD, str(go_on)))
        until(restores, 60, "the second worker restores", late)
        asked = (*PATHS, "player?limit=1000", "player/nobody")
        pair.meanwhile = {port: [pair.ask(port, f"/tables/{path}") for path in asked] for port in pair.ports}
        go_on.touch()
        until(lambda: pair.tells_all(first) and pair.tells_all(second), 60, "both tell all", late)
        until(lambda: is_ready(first) and is_ready(second), 60, "both are ready", late)
        yield pair
        for started in (late, worker):
            code, said = end(started)
            assert (code, TROUBLE.findall(said.encode())) == (0, []), said


def test_any_worker_answers_for_any_key(pair: Pair) -> None:
    first, second = pair.ports
    assert pair.held(first)
    assert pair.held(first) ^ pair.held(second) == {0, 1, 2, 3}
    for n, key in enumerate(PLAYERS):
        one, other = (pair.ask(port, f"/tables/player/{key}") for port in pair.ports)
        assert one == other
        assert (one[0], one[1]["average"]) == (200, n)
        read = [pair.ask(port, f"/tables/player/{key}/read", b'{"operator": "average"}') for port in pair.ports]
        assert read == [(200, {"value": n})] * 2


def test_a_request_for_one_worker_alone_goes_no_further(pair: Pair) -> None:
    both = [{port: pair.alone(port, f"/tables/player/{key}") for port in pair.ports} for key in PLAYERS]
    for answers in both:
        assert sorted(status for status, _ in answers.values()) == [200, 421], answers
    for port, other in (pair.ports, pair.ports[::-1]):
        refusals = [answers[port][1] for answers in both if answers[port][0] == 421]
        assert refusals
        assert all(set(refusal["missing"]) == pair.held(other) for refusal in refusals)


def test_a_key_that_nobody_has_is_looked_for_everywhere_and_not_in_a_circle(pair: Pair) -> None:
    for port in pair.ports:
        assert pair.ask(port, "/tables/player/nobody")[0] == 404
        assert pair.ask(port, "/tables/player/nobody/read", b'{"operator": "average"}')[0] == 404
        assert pair.ask(port, "/tables/team/nobody")[0] == 404


def test_a_repartitioned_key_is_asked_of_its_partition_alone(pair: Pair) -> None:
    for port, other in (pair.ports, pair.ports[::-1]):
        held = pair.held(port, "team")
        assert held ^ pair.held(other, "team") == {0, 1, 2}
        for team in (*TEAMS, "nobody"):
            home = home_of(team.encode(), 3)
            status, answer = pair.alone(port, f"/tables/team/{segment_of(team)}")
            assert status == ((404 if team == "nobody" else 200) if home in held else 421)
            if status == 421:
                assert answer["missing"] == [home]
            elif status == 200:
                assert answer["partition"] == home


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_any_worker_lists_the_keys_of_all(pair: Pair, limit: int) -> None:
    for port in pair.ports:
        pages = list(pair.pages(port, f"/tables/player?limit={limit}"))
        assert all(len(page) <= limit for page in pages)
        assert sorted(key for page in pages for key in page) == sorted(PLAYERS)
    alone = [pair.alone(port, "/tables/player?cursor=2.0") for port in pair.ports]
    assert sorted(status for status, _ in alone) == [200, 421]


def test_keys_of_all_workers_that_begin_so(pair: Pair) -> None:
    for port in pair.ports:
        found = [key for page in pair.pages(port, "/tables/player?prefix=player-2&limit=2") for key in page]
        assert sorted(found) == ["player-2", "player-20", "player-21", "player-22", "player-23"]
        assert list(pair.pages(port, "/tables/team?prefix=b%2F")) == [["b/w"]]


def test_what_another_worker_answers_is_in_the_format_that_was_asked_for(pair: Pair) -> None:
    msgpack = "application/msgpack"
    body = msgspec.msgpack.encode({"operator": "average"})
    for port in pair.ports:
        for path in ("player-7", "nobody"):
            status, problem = pair.ask(port, f"/tables/player/{path}/read", body, **{"Content-Type": msgpack})
            assert status == (200 if path == "player-7" else 404), problem
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request(
                "GET", "/tables/player/player-7", headers={"Authorization": f"Bearer {TOKEN}", "Accept": msgpack}
            )
            response = connection.getresponse()
            assert response.getheader("Content-Type") == msgpack
            assert msgspec.msgpack.decode(response.read())["key"] == "player-7"


def test_the_token_is_asked_for_and_passed_on(pair: Pair) -> None:
    for port in pair.ports:
        for headers in ({}, {LOCAL: "yes"}, {"Authorization": "Bearer another"}):
            assert ask(port, "/tables/player/player-7", headers=headers)[0] == 401
        assert pair.ask(port, "/tables/player/player-7")[0] == 200


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_being_restored_is_503_with_progress_and_the_rest_is_told(pair: Pair, number: int) -> None:
    *entries, listing, nobody = pair.meanwhile[pair.ports[number]]
    assert {status for status, _ in entries} == {200, 503}
    for status, answer in (*entries, nobody):
        if status == 503:
            assert answer["restoring"]
            assert {part["partition"] for part in answer["restoring"]} <= set(answer["missing"])
            # Of what waits for its turn to be restored nobody knows yet.
            assert {part["remaining"] for part in answer["restoring"]} <= {1_234, None}
            assert "restoring: " in answer["error"]
    left = sum(part["remaining"] or 0 for part in nobody[1]["restoring"])
    assert left > 0
    assert nobody[1]["error"].endswith(f"restoring: {left} records to go")
    assert nobody[0] == 503, "it may be there"
    # The listing goes as far as it can.
    assert listing[0] in (200, 503)
    assert listing[1]["restoring"] if listing[0] == 503 else listing[1]["next"]


def test_query_asks_any_worker(pair: Pair) -> None:
    away = next(key for key in PLAYERS if pair.alone(pair.site.port, f"/tables/player/{key}")[0] == 421)
    done = pair.site.streamfold("query", str(pair.site.file), "player", away, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["key"] == away
    assert pair.site.streamfold("query", str(pair.site.file), "player", "nobody").returncode == 1


def test_a_dead_owner_is_named(pair: Pair) -> None:
    """The last test: it leaves a group with a member that does not answer any more."""
    first, _ = pair.ports
    third = pair.site.port + 2
    with pair.run(2) as dead:
        until(lambda: is_ready(third) and bool(pair.held(third)), 60, "the third worker has some", dead)
        until(lambda: pair.tells_all(first), 60, "the first tells all", dead)
        gone = [key for key in PLAYERS if pair.alone(third, f"/tables/player/{key}")[0] == 200]
        dead.kill()
        dead.wait()
        answers = [pair.ask(first, f"/tables/player/{key}") for key in gone[:3]]
    assert [status for status, _ in answers] == [503] * len(answers), answers
    assert all(answer["owners"] == [f"127.0.0.1:{third}"] for _, answer in answers)
