"""A process of readers at a steady rate: ``python -m bench.reads.readers PORT RATE SECONDS`` prints what they met.

Each reader keeps its connection and has times at which it is to ask. A wait counts from such a time, so that a worker
that is late is late for all who would have asked meanwhile. The readers have the lowest priority, as elsewhere they
have a machine of their own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field

import msgspec
import numpy as np

from bench.reads.source import pool

READERS = 128
_LATE_SECONDS = 0.001


class Met(msgspec.Struct):
    """How many answers came within how many seconds, how many of them were no 200, and the waits in milliseconds."""

    answers: int
    seconds: float
    refused: int
    p50: float
    p99: float
    most: float

    def __str__(self) -> str:
        return (
            f"{self.answers / self.seconds:,.0f} reads a second, answered within {self.p50:.1f} ms at the median, "
            f"{self.p99:.1f} ms at 99 %, {self.most:.0f} ms at most; {self.refused} refused"
        )


@dataclass
class _Seen:
    waits: list[float] = field(default_factory=list)
    refused: int = 0


def requests() -> list[bytes]:
    """Look-ups of players who have a score, and one read-out to three of them."""
    made = []
    body = b'{"operator": "average"}'
    players = sorted({player for share in pool(1) for player, _ in share})
    for number, player in enumerate(np.random.default_rng(2).choice(players, 4_000).tolist()):
        path = b"/tables/player/" + player
        if number % 4:
            made.append(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
        else:
            head = b"POST %s/read HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
            made.append(head + body)
    return made


async def read(port: int, rate: float, seconds: float) -> Met:
    """All readers for so long."""
    seen, asks = _Seen(), requests()
    began = time.monotonic()

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due, place = began + number / rate, number
        while due < began + seconds:
            if (early := due - time.monotonic()) > _LATE_SECONDS:
                await asyncio.sleep(early)
            writer.write(asks[place % len(asks)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            seen.waits.append(time.monotonic() - due)
            seen.refused += not head.startswith(b"HTTP/1.1 200 ")
            due += READERS / rate
            place += READERS
        writer.close()

    await asyncio.gather(*map(ask, range(READERS)))
    p50, p99, most = (np.percentile(seen.waits, [50, 99, 100]) * 1000).tolist()
    return Met(len(seen.waits), time.monotonic() - began, seen.refused, p50, p99, most)


if __name__ == "__main__":
    os.nice(19)
    met = asyncio.run(read(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.write(msgspec.json.encode(met).decode())
