"""From results to output records: one JSON object an event or key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from operators.operator import Readout
from pipeline.core.batch import Floats, Ints
from pipeline.core.keys import split

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

HEAD = ("key", "time", "partition", "offset")
"""The fields of every output record that come before those of the operators."""


class Encoder:
    """Writes the output records of one table.

    ``fields`` are the operators' fields in order: ``"name"`` for a read-out, ``"name.state"`` for the memory itself.
    ``parts`` are the names of the parts that a key is joined of, if it is: each becomes a field before them.
    """

    def __init__(self, table: str, fields: Sequence[str], parts: Sequence[str] = ()) -> None:
        self._fields = tuple(fields)
        self._parts = len(parts)
        names = (*HEAD, *parts, *self._fields)
        attributes = [f"field_{i}" for i in range(len(names))]
        self._record = msgspec.defstruct(
            table, attributes, rename=dict(zip(attributes, names, strict=True)), module=__name__, gc=False
        )
        self._encode = msgspec.json.Encoder().encode

    def encode(
        self,
        keys: Sequence[str],
        times: Floats,
        partition: int,
        offsets: Ints,
        results: Mapping[str, Readout | Sequence[Mapping[str, object]]],
    ) -> list[bytes]:
        """One record a row, all arguments but ``partition`` being columns of N rows.

        Numbers keep every digit; what is not finite becomes null, in a vector (or matrix) all of it.
        """
        columns = [_column(results[field]) for field in self._fields]
        parts = split(keys, self._parts) if self._parts else ()
        records = map(self._record, keys, times.tolist(), repeat(partition), offsets.tolist(), *parts, *columns)
        return list(map(self._encode, records))


def undefined(readout: Readout) -> int:
    """How many rows of a read-out are undefined: null in the output, or a mapping with a null."""
    parts = readout.values() if isinstance(readout, dict) else (readout,)
    return int(np.count_nonzero(np.logical_or.reduce([_undefined(part) for part in parts])))


def key_text(key: bytes) -> str:
    """A key as text: itself if it is UTF-8, else ``base64:`` and its base64.

    The text is for reading: a key that is itself the text ``base64:...`` looks the same as one that isn't UTF-8, and
    only the record's own key tells them apart.
    """
    try:
        return key.decode()
    except UnicodeDecodeError:
        return "base64:" + b64encode(key).decode()


def key_texts(keys: Sequence[bytes]) -> list[str]:
    """:func:`key_text` of each key."""
    try:
        # All as one text is quicker than one by one, if none has a line of its own in it.
        texts = b"\n".join(keys).decode().split("\n")
        return texts if len(texts) == len(keys) else list(map(bytes.decode, keys))
    except UnicodeDecodeError:
        return list(map(key_text, keys))


def _column(result: Readout | Sequence[Mapping[str, object]]) -> Sequence[object]:
    """One value a row."""
    if isinstance(result, np.ndarray):
        return _values(result)
    if isinstance(result, dict):
        names = tuple(result)
        return [dict(zip(names, row, strict=True)) for row in zip(*map(_values, result.values()), strict=True)]
    return result


def _values(part: Array) -> list[object]:
    values: list[object] = part.tolist()
    # In a column of numbers the encoder itself writes null for one that is not finite.
    if part.ndim > 1:
        for row in np.flatnonzero(_undefined(part)).tolist():
            values[row] = None
    return values


def _undefined(part: Array) -> Mask:
    """Whether each row has a number that is not finite, ``(N,)``."""
    finite: Mask = np.isfinite(part)
    bad: Mask = np.logical_or.reduce(~finite, axis=tuple(range(1, part.ndim)))
    return bad
