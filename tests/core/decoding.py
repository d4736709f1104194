"""What tests of decoding share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.batch import WireBatch
from pipeline.core.config.model import Stream
from pipeline.core.decode import Decoder


def wire(values: list[bytes | None], keys: list[bytes | None] | None = None) -> WireBatch:
    count = len(values)
    return WireBatch(
        "topic",
        1,
        100,
        100 + count,
        [b"k"] * count if keys is None else keys,
        values,
        [100 + i for i in range(count)],
        [1_700_000_000_123 + i for i in range(count)],
    )


def reader(
    scalars: tuple[str, ...] = ("x",), vectors: Mapping[str, int] | None = None, *, limit: int = 4096, **options: Any
) -> Decoder:
    vectors = vectors or {}
    return Decoder(Stream(name="s", topic="topic", vectors=vectors, **options), scalars, vectors, max_key_bytes=limit)


def strict(value: bytes) -> object:
    """Python's json without its extensions; raises ValueError or RecursionError."""

    def constant(name: str) -> object:
        raise ValueError(name)

    text = value.decode()
    if text.startswith("\ufeff"):
        raise ValueError("byte order mark")
    document = json.loads(text, parse_constant=constant)
    json.dumps(document, ensure_ascii=False).encode()
    return document
