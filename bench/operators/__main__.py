"""`make bench-operators`: measure, and publish the figures in the documentation."""

from __future__ import annotations

import ctypes

import msgspec

from bench.operators import publish
from bench.operators.measure import Sizes, measure

_TRIM_THRESHOLD, _TOP_PAD = -1, -2


def keep_the_heap() -> None:
    """Let the C library keep what is freed.

    Alone in its process, a fold would give its memory back after every batch and page it in again for the next. In a
    worker there is always something above it.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_TOP_PAD, 1 << 24)


if __name__ == "__main__":
    keep_the_heap()
    results = measure(Sizes(), print)
    publish.DATA.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    for path, text in publish.files(results).items():
        path.write_text(text, "utf-8")
