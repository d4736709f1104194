"""A worker's web server: whatever comes in, all that goes out is HTTP that blames the asker, and it lives on."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from pipeline.edges.broker import EmbeddedKafka
from tests.kafka.process import STREAMFOLD, Site, free_ports, is_ready, until

LAST = b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
"""What is asked behind every input, so that the server says when it is done, if it still listens."""

_PATIENCE, _LONGEST = 0.7, 20.0
"""Seconds of silence after which a server is taken to wait for more; seconds for the whole of an answer."""

_HEAD = re.compile(
    rb"HTTP/[0-9]\.[0-9] ([1-5][0-9]{2}) [ -~]*\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [ -~\t\x80-\xff]*\r\n)*)\r\n"
)
TROUBLE = re.compile(rb"Traceback|\bERROR\b|Exception ignored|never awaited")
"""What a log has to say of a worker that minds."""

Chunks = Sequence[bytes]
"""What is sent, in so many pieces."""


def check(port: int, chunks: Chunks) -> None:
    """Raises AssertionError if the answer is no HTTP or blames the server, or if it is the last one."""
    statuses = ask(port, [*chunks, LAST])
    assert all(status < 500 or status == 503 for status in statuses), statuses
    assert ask(port, [LAST]) == [200], "it does not answer any more"


@dataclass
class Server:
    """A running worker and its log."""

    port: int
    worker: subprocess.Popen[bytes]
    log: Path
    _read: int = 0

    def check(self, chunks: Chunks) -> None:
        """Raises AssertionError if the answer is not right, or if the worker minds."""
        check(self.port, chunks)
        assert self.worker.poll() is None, "the worker ended"
        with self.log.open("rb") as log:
            log.seek(self._read)
            more = log.read()
        self._read += len(more)
        assert not TROUBLE.search(more), more.decode(errors="replace")


def ask(port: int, chunks: Chunks) -> list[int]:
    """The statuses of all answers until the server closes or waits for more."""
    said, deadline = b"", time.monotonic() + _LONGEST
    with socket.create_connection(("127.0.0.1", port), timeout=_LONGEST) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for chunk in chunks:
                connection.sendall(chunk)
            connection.settimeout(_LONGEST if chunks == [LAST] else _PATIENCE)
            while True:
                try:
                    if not (part := connection.recv(1 << 20)):
                        break
                    said += part
                except TimeoutError:
                    if is_whole(said) or time.monotonic() > deadline:
                        break
        except ConnectionError:
            # Closed with something unread, which takes back what was on the way.
            return answers(said) if is_whole(said) else []
    return answers(said)


def is_whole(said: bytes) -> bool:
    """Whether no answer is cut off."""
    try:
        answers(said)
    except AssertionError:
        return False
    return True


def answers(said: bytes) -> list[int]:
    """The statuses of well-formed answers, one after the other. Raises AssertionError if they are not.

    The answer to a HEAD has the headers of a body that does not follow.
    """
    statuses, at = list[int](), 0
    while at < len(said):
        head = _HEAD.match(said, at)
        assert head is not None, said[at : at + 500]
        status, at = int(head[1]), head.end()
        headers = dict(line.lower().split(b": ", 1) for line in head[2].splitlines())
        if status >= 200:
            statuses.append(status)
        if at == len(said) or said.startswith(b"HTTP/", at):
            continue
        assert b"content-length" in headers, headers
        at += int(headers[b"content-length"])
        assert at <= len(said), "an answer is cut off"
    return statuses


@contextmanager
def server(brokers: str, folder: Path) -> Iterator[Callable[[Chunks], None]]:
    """Start a worker with some state; gives what checks requests to it."""
    port = free_ports()
    site = Site(brokers, folder, f"fuzz-http-{port}", port)
    site.make_sources()
    site.send("scores", [(key, {"score": score}) for key in (b"a", b"b/c", b"\xff\x00") for score in (1, 2)])
    site.send("machine", [(b"m", {"k": [1, 0], "v": [3, 4]})])
    log = folder / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen([*STREAMFOLD, "run", str(site.file)], stdout=out, stderr=subprocess.STDOUT)
    try:
        until(lambda: worker.poll() is not None or is_ready(port), 120, "ready")
        until(lambda: worker.poll() is not None or site.committed() == 7, 60, "all committed")
        assert worker.poll() is None, log.read_text()
        yield Server(port, worker, log).check
    finally:
        worker.terminate()
        worker.wait(30)


@contextmanager
def ready() -> Iterator[Callable[[Chunks], None]]:
    """A worker on a Kafka of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedKafka() as broker,
        server(broker.address, Path(folder)) as check,
    ):
        yield check


# Requests

METHODS = st.sampled_from(
    [b"GET", b"GET", b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"TRACE", b"get", b"G\x00T"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b""])
SEGMENTS = st.one_of(
    st.sampled_from(
        [
            b"tables",
            b"player",
            b"machine",
            b"a",
            b"m",
            b"b%2Fc",
            b"read",
            b"livez",
            b"readyz",
            b"metrics",
            b"..",
            b".",
            b"",
        ]
    ),
    st.sampled_from(
        [b"%", b"%zz", b"%00", b"base64:", b"base64:%2FwA=", b"\xff", b"%FF%00", b"a" * 9_000, b"%41" * 7_000]
    ),
    st.binary(max_size=6).map(quote_from_bytes).map(str.encode),
)
PATHS = st.one_of(
    st.sampled_from(
        [
            b"/",
            b"/metrics",
            b"/tables",
            b"/tables/player/a",
            b"/tables/machine/m/read",
            b"/tables/player",
            b"/tables/nobody/x",
            b"/openapi.json",
        ]
    ),
    st.lists(SEGMENTS, max_size=5).map(lambda parts: b"/" + b"/".join(parts)),
    st.sampled_from(
        [b"*", b"//", b"http://elsewhere/tables", b"http://[::1", b"a", b"/#", b"/a b", b"\\", b"/\x00", b"@:1"]
    ),
)
QUERIES = st.sampled_from(
    [b""] * 6 + [b"?", b"?limit=1", b"?limit=-1", b"?cursor=99999999999999999999.0", b"?limit=" + b"9" * 5_000]
) | st.one_of(
    st.sampled_from(
        [
            b"?prefix=%FF",
            b"?limit=%D9%A3",
            b"?limit=1&limit=x",
            b"?=&&;",
            b"?prefix=%",
            b"?cursor=0.9223372036854775807",
        ]
    ),
    st.text(max_size=4).map(lambda text: b"?prefix=" + text.encode()),
)
HEADERS = st.one_of(
    st.sampled_from(
        [
            *(b"Host: h", b"Host: ", b"Host: [", b"Host: a\xff", b"Connection: close", b"Connection: keep-alive"),
            *(b"Connection: Upgrade\r\nUpgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: x"),
            *(
                b"Content-Length: 0",
                b"Content-Length: 5",
                b"Content-Length: -1",
                b"Content-Length: +1",
                b"Content-Length: 1_0",
            ),
            *(b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
            *(b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding:\tchunked", b"Content-Encoding: gzip"),
            *(
                b"Content-Encoding: deflate",
                b"Content-Encoding: br",
                b"Content-Encoding: zstd",
                b"Accept-Encoding: gzip",
            ),
            *(b"Content-Type: application/json; charset=x", b"Content-Type: multipart/form-data", b"Range: bytes=0-"),
            *(
                b"Cookie: a=\xff; $",
                b"Authorization: Bearer \xff",
                b"X: " + b"y" * 9_000,
                b"X",
                b": x",
                b"X : y",
                b" folded",
                b"X: \x00",
            ),
            *(b"If-Modified-Since: never", b"X-Forwarded-For: \x1b[31m", b"Accept: */*;q=\xff", b"Date: \n"),
            *(b"Accept: application/msgpack", b"Accept: application/x-msgpack;q=nan, ,;", b"Streamfold-Local: \xff"),
            *(b"Content-Type: application/msgpack", b"Content-Type: application/msgpack; ="),
        ]
    ),
    st.tuples(st.binary(max_size=4), st.binary(max_size=6)).map(b": ".join),
)
BODIES = st.one_of(
    st.sampled_from(
        [
            b"",
            b'{"operator": "memory", "query": [1, 0]}',
            b'{"operator": "memory", "query": [1e308, -1e308]}',
            b'{"operator": "memory", "query": [1e999]}',
            b'{"operator": "average", "query": null}',
            b'{"operator": "\xed\xa0\x80"}',
            b'{"operator": "\\ud800", "query": []}',
            b"\xff\xfe",
            b"\x82\xa8operator\xa6memory\xa5query\x92\x01\x00",
            b"\xdd\xff\xff\xff\xff",
            b"\x91" * 100_000,
            b"[" * 100_000,
            b" " * 1_100_000,
        ]
    ),
    st.binary(max_size=8),
)
FRAMES: Sequence[Callable[[bytes], tuple[bytes, bytes]]] = (
    lambda body: (b"Content-Length: %d\r\n" % len(body), body),
    lambda body: (
        b"Transfer-Encoding: chunked\r\n",
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n",
    ),
    lambda body: (
        b"Transfer-Encoding: chunked\r\n",
        b"%x;ext=1\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(body) + 1, body),
    ),
    lambda body: (b"Transfer-Encoding: chunked\r\n", b"-5\r\n" + body),
    lambda body: (b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(body), body),
    lambda body: (b"", body),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, sound in most of its parts."""
    line = b" ".join([draw(METHODS), draw(PATHS) + draw(QUERIES), draw(VERSIONS)])
    own = [b"Host: h"] * draw(st.integers(0, 4).map(bool))
    headers = [*own, *draw(st.lists(HEADERS, max_size=2))]
    length, body = draw(st.sampled_from([FRAMES[0], FRAMES[0], *FRAMES]))(draw(st.just(b"") | BODIES))
    return line + b"\r\n" + b"".join(header + b"\r\n" for header in headers) + length + b"\r\n" + body


@st.composite
def chunks(draw: st.DrawFn) -> list[bytes]:
    """Some requests one behind the other, damaged at times, cut anywhere."""
    sent = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    if draw(st.integers(0, 3)) == 3:
        start = draw(st.integers(0, len(sent)))
        sent = sent[:start] + draw(st.binary(max_size=4)) + sent[start + draw(st.integers(0, 9)) :]
    cut = draw(st.integers(0, len(sent)))
    return draw(st.sampled_from([[sent], [sent[:cut], sent[cut:]]]))


INPUTS = chunks()
