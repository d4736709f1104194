"""A server that does nothing: ``python -m bench.reads.elsewhere PORT`` answers whatever comes with the same bytes.

Readers of it take of the machine what readers take, and nothing of the worker. Says so on a line once it listens.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_BODY = b"x" * 200
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Same(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A reader waits for its answer before it asks again: what comes is one request."""
        self._transport.write(_RESPONSE)


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Same, "127.0.0.1", port)
    print("it listens", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
