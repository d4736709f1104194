"""Chromium as the system has it, driven by Playwright: for the tests of the live page, and for its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_OPTIONS = (
    # Who runs in a container is often root, whom Chromium's own sandbox refuses.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # Nothing beyond this machine is asked, by the page or by the browser itself.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
)


@contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """A browser without a window, until the body ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()
