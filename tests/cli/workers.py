"""A worker's pages without a pipeline: the real registry of metrics behind a real web server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from pipeline.edges.metrics import Metrics


class Pages:
    """What is served; ``output`` is where its one table is published, ``token`` what it asks for."""

    def __init__(self, output: str, token: str | None = None) -> None:
        self.metrics = Metrics()
        self.reasons: Sequence[str] = ()
        self.output = output
        self.token = token
        self.asked: list[str] = []

    def answer(self, path: str, token: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        if path == "/readyz":
            body = {"ready": not self.reasons, "reasons": list(self.reasons)}
            return (503 if self.reasons else 200), json.dumps(body).encode()
        if self.token is not None and token != f"Bearer {self.token}":
            return 401, b'{"error": "this worker asks for a token"}'
        if path == "/metrics":
            return 200, self.metrics.text()
        return 200, json.dumps({"tables": {"player": {"output": self.output}}}).encode()


@contextmanager
def serving(pages: Pages, port: int) -> Iterator[None]:
    """On this port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
