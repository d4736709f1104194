"""A memory as bytes: a header that says what they mean, then the raw numbers, so that not a bit is lost.

=========  =====================================================================================================
magic      ``streamfold memory`` and a line feed
version    u16, little-endian as all that follows
length     u64, that of the header
header     JSON: the operator with its options, the lengths of vectors, the layout of the state, the keys in order
numbers    array by array as in the layout, each with a row for every key
=========  =====================================================================================================
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.operator import Layout, Operator

_MAGIC = b"streamfold memory\n"
_VERSION = 1
_HEAD = struct.Struct("<HQ")

Array = npt.NDArray[Any]


def identity(operator: Operator) -> dict[str, Any]:
    """The operator's class and the options that its state depends on, as plain JSON."""
    options = {field.name: getattr(operator, field.name) for field in dataclasses.fields(operator)}
    del options["publish"]
    cls = type(operator)
    ours = cls.__module__.startswith("operators.")
    return _plain({"type": cls.__qualname__ if ours else f"{cls.__module__}:{cls.__qualname__}", **options})


def described(layout: Layout) -> dict[str, Any]:
    """A layout as plain JSON."""
    return _plain(dataclasses.asdict(layout))


def pack(header: dict[str, Any], arrays: Iterable[Array]) -> bytes:
    """The header and the arrays as bytes."""
    text = json.dumps(header).encode()
    return b"".join([_MAGIC, _HEAD.pack(_VERSION, len(text)), text, *(array.tobytes() for array in arrays)])


def unpack(raw: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header, and the bytes of the arrays. Raises ValueError for bytes that :func:`pack` did not write."""
    body = memoryview(raw)[len(_MAGIC) :]
    if not raw.startswith(_MAGIC) or len(body) < _HEAD.size:
        raise ValueError("found other bytes, expected those of a memory")
    version, length = _HEAD.unpack_from(body)
    if version != _VERSION:
        raise ValueError(f"found a memory of format {version}, expected {_VERSION}")
    text = bytes(body[_HEAD.size : _HEAD.size + length])
    try:
        header: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ValueError("found a memory that is cut off or damaged in its header") from None
    return header, body[_HEAD.size + length :]


def take(numbers: memoryview, like: Sequence[tuple[str, tuple[int, ...]]]) -> list[Array]:
    """Cut bytes into arrays of these types and shapes. Raises ValueError if they are not just as many."""
    sizes = [np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64)) for dtype, shape in like]
    if sum(sizes) != len(numbers):
        raise ValueError(f"found {len(numbers)} bytes of numbers, expected {sum(sizes)}")
    arrays, at = [], 0
    for (dtype, shape), size in zip(like, sizes, strict=True):
        arrays.append(np.frombuffer(numbers[at : at + size], dtype).reshape(shape))
        at += size
    return arrays


def key_to_json(key: Hashable) -> Any:
    """A key as JSON. Raises TypeError for one that is no text, bytes, number, None, or tuple of such."""
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, bytes):
        return {"bytes": key.hex()}
    if isinstance(key, tuple):
        return {"tuple": [key_to_json(part) for part in key]}
    if key is None or isinstance(key, str | int | float):
        return key
    raise TypeError(f"found the key {key!r}, expected text, bytes, a number, None, or a tuple of those")


def key_from_json(given: Any) -> Hashable:
    """The key that :func:`key_to_json` was given."""
    if not isinstance(given, dict):
        key: Hashable = given
        return key
    if "bytes" in given:
        return bytes.fromhex(given["bytes"])
    return tuple(map(key_from_json, given["tuple"]))


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(value, default=repr))
    return plain
