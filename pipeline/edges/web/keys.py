"""Keys in URLs: one percent-encoded segment of a path, or ``base64:...`` for bytes that are not text."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote, unquote_to_bytes

_BASE64 = b"base64:"


def keys_named(segment: str) -> list[bytes]:
    """The keys that a segment may name: itself, and what it is the base64 of. Both show as the same text."""
    key = unquote_to_bytes(segment)
    if not key.startswith(_BASE64):
        return [key]
    try:
        return [key, base64.b64decode(key.removeprefix(_BASE64), validate=True)]
    except binascii.Error:
        return [key]


def segment_of(text: str) -> str:
    """The segment that names a key, which is given as output records show it."""
    return quote(text, safe="")
