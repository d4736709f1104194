"""Keys of several parts: joined as JSON Pointer joins its tokens (RFC 6901), so that they can be taken apart again.

In a part "~" becomes "~0" and "/" becomes "~1"; the parts are joined by "/": ``north/temp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat


def join(parts: Sequence[Sequence[bytes]]) -> list[bytes]:
    """One key a row, from a column of N for each part. Different parts make different keys."""
    keys = list(map(b"/".join, zip(*parts, strict=True)))
    # Looking once through all of them is quicker than escaping what hardly ever has to be.
    whole = b"".join(keys)
    if b"~" not in whole and whole.count(b"/") == len(keys) * (len(parts) - 1):
        return keys
    return list(map(b"/".join, zip(*(map(_escaped, part) for part in parts), strict=True)))


def split(keys: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """The ``count`` parts of N joined keys, given as text: a column of N for each part."""
    if not keys:
        return [()] * count
    columns = list(zip(*map(str.split, keys, repeat("/")), strict=True))
    return [tuple(map(_plain, column)) if any("~" in part for part in column) else column for column in columns]


def _escaped(part: bytes) -> bytes:
    return part.replace(b"~", b"~0").replace(b"/", b"~1")


def _plain(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
