"""The files of the live page. They are the same for every app and hold nothing of it, so they need no token."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from aiohttp import web
from faust.web import View

_FOLDER = files("pipeline.edges.web") / "page"

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Whatever a key is named, the page runs no script but its own and asks nobody but the worker that it came from."""


def _file(name: str, content_type: str) -> type[View]:
    body = (_FOLDER / name).read_bytes()

    async def get(_: View, request: Any) -> Any:
        return web.Response(body=body, headers=_HEADERS, content_type=content_type, charset="utf-8")

    return View.from_handler(get)


ASSETS: Mapping[str, type[View]] = {
    "/": _file("index.html", "text/html"),
    "/page.css": _file("page.css", "text/css"),
    **{f"/{name}": _file(name, "text/javascript") for name in ("page.js", "tables.js", "stream.js", "drawing.js")},
    "/icon.svg": _file("icon.svg", "image/svg+xml"),
}
"""What each path serves."""
