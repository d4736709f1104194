"""A client of ``/live``: the events of one connection, as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

PATIENCE = 60.0


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
