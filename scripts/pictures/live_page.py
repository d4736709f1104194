"""`make live-page`: the live page of the demonstration, as Chromium shows it in light, in the dark and on a phone."""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from playwright.sync_api import expect

from pipeline.edges.demo.board import Board
from pipeline.edges.demo.session import Demo, Interrupted
from scripts.browser import chromium
from scripts.pictures import FOLDER

SECONDS = 30.0
"""How long the page runs before it is taken, for the lines to fill."""

DEVICES: dict[str, dict[str, Any]] = {
    "live-page": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "light"},
    "live-page-dark": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "dark"},
    "live-page-phone": {"viewport": {"width": 390, "height": 780}, "color_scheme": "light"},
}
"""What each picture is taken with."""


def take(executable: str, address: str) -> None:
    """Take the pictures of the page at an address."""
    with chromium(executable) as browser:
        pages = {name: browser.new_context(**device).new_page() for name, device in DEVICES.items()}
        for page in pages.values():
            page.goto(address)
        time.sleep(SECONDS)
        for name, page in pages.items():
            page.bring_to_front()
            page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")
        page = pages["live-page"]
        page.locator("section[aria-labelledby=table-style] .key").first.click()
        page.get_by_label("Memory").select_option("memory")
        page.get_by_label("Query").fill("0.7, 0.5, 0.2")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer")).to_contain_text("value")
        page.locator("#detail").screenshot(path=FOLDER / "live-page-memory.png", animations="disabled")


def main() -> None:
    """Run the demonstration until the pictures are taken."""
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("error: chromium is not installed\nhint: on Debian: apt-get install chromium")
    taken: list[Future[None]] = []

    def look(board: Board) -> None:
        if not taken:
            taken.append(photographer.submit(take, executable, board.page))
        elif taken[0].done():
            raise Interrupted

    # In a thread of its own: what drives the browser takes a thread's loop of events for itself.
    with ThreadPoolExecutor(1) as photographer, suppress(Interrupted):
        Demo(seconds=None, broker=None, scores=200.0, seed=1, say=lambda text: None, show=look).run()
    taken[0].result()


if __name__ == "__main__":
    main()
