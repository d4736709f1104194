"""`make live-page`: the live page of the demonstration, as Chromium shows it in light, in the dark and on a phone."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page

from pipeline.edges.demo.board import Board
from pipeline.edges.demo.session import Demo, Interrupted
from scripts.browser import chromium
from scripts.pictures import FOLDER

SECONDS = 30.0
"""How long the page runs before it is taken, for the lines to fill."""

DEVICES: dict[str, dict[str, Any]] = {
    "live-page": {"viewport": {"width": 1240, "height": 860}, "color_scheme": "light"},
    "live-page-dark": {"viewport": {"width": 1240, "height": 860}, "color_scheme": "dark"},
    "live-page-phone": {"viewport": {"width": 390, "height": 780}, "color_scheme": "light"},
}


@dataclass
class Photographer:
    """Opens the page as soon as there is one, takes it when its time has come, and ends the demonstration."""

    browser: Browser
    pages: dict[str, Page] = field(default_factory=dict)

    def look(self, board: Board) -> None:
        """Called with the board a few times a second."""
        for name, device in DEVICES.items():
            if name not in self.pages:
                self.pages[name] = self.browser.new_context(**device).new_page()
                self.pages[name].goto(board.page)
        if board.elapsed > SECONDS:
            for name, page in self.pages.items():
                page.bring_to_front()
                page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")
            raise Interrupted


def main() -> None:
    """Run the demonstration and take the pictures."""
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("error: chromium is not installed\nhint: on Debian: apt-get install chromium")
    with chromium(executable) as browser, suppress(Interrupted):
        look = Photographer(browser).look
        Demo(seconds=None, broker=None, scores=200.0, seed=1, say=lambda text: None, show=look).run()


if __name__ == "__main__":
    main()
