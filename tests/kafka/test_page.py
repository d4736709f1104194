"""The live page in a real Chromium, on a real worker."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

from pipeline.edges.web.board import SHOWN
from scripts.browser import chromium
from tests.kafka.process import STREAMFOLD, Site, end, free_ports, process, until
from tests.programs import installed

PATIENCE = 60.0
TOKEN = "a-token-for-the-live-page"
PHONE = {"width": 360, "height": 740}
PAIRS = [([1, 0], [3, 4]), ([0, 2], [5, 6]), ([1, 1], [7, 8])]

HOSTILE = [
    b"<script>document.title = 'taken over'</script>",
    b'"><img src=x onerror="document.title = \'taken over\'">',
    b"../../livez?x=1#y",
    b"..",
    b"\xff\x00",
    "ключ 🔑 %2F".encode(),
]


@dataclass
class Watched:
    """A page and what it did: what its console said, and which hosts it asked."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def _request(self, request: Request) -> None:
        self.asked.append(request.url)

    def row(self, key: str, table: str = "player") -> Locator:
        """The row of a key."""
        rows = self.page.locator(f"section[aria-labelledby='table-{table}'] tbody tr")
        return rows.filter(has=self.page.get_by_role("button", name=key, exact=True))

    def cell(self, key: str, operator: str, table: str = "player") -> Locator:
        """The value that an operator has for a key."""
        cells = self.row(key, table).get_by_role("cell")
        return cells.filter(has=self.page.locator(".label", has_text=re.compile(f"^{operator}$"))).locator(".value")

    def keep(self, key: str, table: str = "player") -> None:
        """Ask for a key by its name."""
        self.page.get_by_label(f"A key of {table}").fill(key)
        self.page.get_by_label(f"A key of {table}").press("Enter")

    def check_axe(self) -> None:
        """No violation of WCAG that a program can find."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    def check_width(self) -> None:
        """Nobody has to move it sideways to read it."""
        wide, seen = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= seen


@pytest.fixture(scope="module")
def executable() -> str:
    return installed("chromium", "chromium")


@pytest.fixture(scope="module")
def site(executable: str, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker with few keys, among them some that would do harm."""
    port = free_ports()
    site = Site(kafka, tmp_path_factory.mktemp("page"), f"page-{port}", port)
    site.make_sources()
    site.send("scores", [(key, {"score": score}) for key in HOSTILE for score in (1, 2)])
    site.send("machine", [(b"m", {"k": k, "v": v}) for k, v in PAIRS])
    with site.running() as worker:
        until(lambda: site.committed() == 2 * len(HOSTILE) + len(PAIRS), PATIENCE, "all committed", worker)
        yield site
        code, said = end(worker)
        assert code == 0, said


@pytest.fixture(scope="module")
def guarded(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A pipeline of which no worker runs yet."""
    port = free_ports()
    site = Site(kafka, tmp_path_factory.mktemp("guarded"), f"guarded-{port}", port)
    site.make_sources()
    return site


@pytest.fixture(scope="module")
def browser(executable: str, site: Site, guarded: Site) -> Iterator[Browser]:
    """Started last: while Playwright drives it, nothing else can run a loop of events in this thread."""
    with chromium(executable) as started:
        yield started


@pytest.fixture
def opened(browser: Browser, site: Site) -> Iterator[Callable[..., Watched]]:
    """Opens the page as some device shows it; at the end nothing went wrong in it, and it asked nobody else."""
    with pages(browser) as opener:
        watched: list[Watched] = []

        def open_page(path: str = "/", **device: object) -> Watched:
            watched.append(opener(f"http://127.0.0.1:{site.port}{path}", **device))
            expect(watched[-1].page.locator("#state")).to_have_text("ready")
            return watched[-1]

        yield open_page
        for page in watched:
            assert page.said == []
            assert {url.split("/")[2] for url in page.asked} == {f"127.0.0.1:{site.port}"}
            assert "taken over" not in page.page.title()


@contextmanager
def pages(browser: Browser) -> Iterator[Callable[..., Watched]]:
    contexts = []

    def open_page(url: str, **device: object) -> Watched:
        contexts.append(browser.new_context(**device))  # type: ignore[arg-type]
        contexts[-1].set_default_timeout(1000 * PATIENCE)
        watched = Watched(contexts[-1].new_page())
        watched.page.goto(url)
        return watched

    expect.set_options(timeout=1000 * PATIENCE)
    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()


def test_it_shows_what_is_committed_and_how_it_moves(site: Site, opened: Callable[..., Watched]) -> None:
    watched = opened()
    watched.keep("ada")
    expect(watched.row("ada")).to_contain_text("nothing of it is committed on this worker")
    for games, average in ((1, "10"), (2, "15"), (3, "20")):
        site.send("scores", [(b"ada", {"score": 10 * games})])
        expect(watched.cell("ada", "games")).to_have_text(str(games))
        expect(watched.cell("ada", "average")).to_have_text(average)
    line = watched.row("ada").locator("td").nth(1).locator("polyline").get_attribute("points") or ""
    assert len(line.split()) == 3
    assert len(set(re.findall(r",(\S+)", line))) == 3
    drawn = watched.page.locator("#figures div", has_text="Events a second").locator("polyline")
    expect(drawn).to_have_attribute("points", re.compile(r"\S+ \S+"))
    assert watched.page.title() == f"{site.name} – streamfold"
    # What is kept is in the address: whoever opens that sees it too.
    again = opened(watched.page.url.partition(str(site.port))[2])
    expect(again.cell("ada", "average")).to_have_text("20")


def test_a_memory_answers_a_query(site: Site, opened: Callable[..., Watched]) -> None:
    watched = opened()
    page = watched.page
    page.get_by_role("button", name="m", exact=True).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="m")
    expect(dialog.get_by_text("2 numbers of k")).to_be_visible()
    dialog.get_by_label("Query").fill("[1, one]")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("it takes 2 numbers, by commas")
    dialog.get_by_label("Query").fill("1, 1")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("value 5.4000  6.4000")
    watched.check_axe()
    site.send("machine", [(b"m", {"k": [1, 1], "v": [7, 8]})])
    expect(page.locator("#answer")).not_to_have_text("value 5.4000  6.4000")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize("key", HOSTILE, ids=repr)
def test_keys_are_text_whatever_they_hold(key: bytes, opened: Callable[..., Watched]) -> None:
    shown = "base64:/wA=" if key == b"\xff\x00" else key.decode()
    watched = opened()
    watched.keep(shown)
    expect(watched.cell(shown, "average")).to_have_text("1.5000")
    watched.row(shown).get_by_role("button").click()
    expect(watched.page.get_by_role("heading", name=shown, exact=True)).to_be_visible()
    address = watched.page.locator("#detail-json").get_attribute("href")
    assert watched.page.request.get(f"{watched.page.url.partition('?')[0]}{address}").json()["average"] == 1.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
def test_it_is_for_everybody(scheme: str, viewport: dict[str, int], opened: Callable[..., Watched]) -> None:
    watched = opened(color_scheme=scheme, viewport=viewport)
    expect(watched.page.locator("tbody tr").first).to_be_visible()
    watched.check_width()
    watched.check_axe()
    light = watched.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(x => x > 127)")
    assert light == (scheme == "light")


def test_it_can_be_paused(site: Site, opened: Callable[..., Watched]) -> None:
    watched = opened("/?table=player&key=paused")
    site.send("scores", [(b"paused", {"score": 1})])
    expect(watched.cell("paused", "games")).to_have_text("1")
    pause = watched.page.get_by_role("button", name="Pause", exact=True)
    pause.click()
    expect(watched.page.locator("#state")).to_have_text("paused")
    site.send("scores", [(b"paused", {"score": 1})])
    with_it = opened("/?table=player&key=paused")
    expect(with_it.cell("paused", "games")).to_have_text("2")
    expect(watched.cell("paused", "games")).to_have_text("1")
    pause.click()
    expect(watched.cell("paused", "games")).to_have_text("2")


def test_an_address_with_a_table_that_is_gone_is_mended(browser: Browser, site: Site) -> None:
    with pages(browser) as opener:
        watched = opener(f"http://127.0.0.1:{site.port}/?table=gone&key=a")
        expect(watched.page.locator("#state")).to_have_text("ready")
        assert watched.page.url == f"http://127.0.0.1:{site.port}/"


def test_it_asks_for_the_token_waits_for_the_worker_and_says_why_that_is_not_ready(
    browser: Browser, guarded: Site
) -> None:
    site = guarded
    config = site.file.read_text().replace("[app]\n", f'[app]\nhttp_token = "{TOKEN}"\n')
    unreachable = config.replace(site.brokers, f"127.0.0.1:{free_ports()}").replace(
        'start_timeout = "5s"', 'start_timeout = "60s"'
    )
    site.file.write_text(config)
    site.send("scores", [(f"player {n}".encode(), {"score": n}) for n in range(SHOWN)])
    with pages(browser) as opener:
        with site.running() as worker:
            watched = opener(f"http://127.0.0.1:{site.port}/")
            page, state = watched.page, watched.page.locator("#state")
            page.get_by_role("textbox", name="Token").fill("another")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_have_text("That is not its token.")
            watched.check_axe()
            page.get_by_role("textbox", name="Token").fill(TOKEN)
            page.keyboard.press("Enter")
            expect(watched.cell("player 1", "average")).to_have_text("1")
            expect(page.get_by_role("link", name="metrics")).to_be_hidden()
            end(worker)
        expect(state).to_have_text("no answer: trying again")
        site.file.write_text(unreachable)
        with process([*STREAMFOLD, "run", str(site.file)]) as worker:
            expect(state).to_have_text("not ready")
            expect(page.get_by_role("list", name="Why the worker is not ready")).to_have_text("starting")
            page.reload()
            expect(state).to_have_text("not ready")
            finish(worker)
        site.file.write_text(config)
        with site.running() as worker:
            expect(state).to_have_text("ready")
            expect(watched.cell("player 2", "average")).to_have_text("2")
            site.send("scores", [(b"player 1", {"score": 3})])
            expect(watched.cell("player 1", "average")).to_have_text("2")
            assert TOKEN not in "".join(watched.asked)
            finish(worker)


def finish(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()
