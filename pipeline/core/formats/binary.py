"""Raw little-endian numbers: every value is one row of floats, read for the whole batch at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.batch import Floats, Reject
from pipeline.core.formats.parsed import NON_FINITE, NULL_VALUE, Parsed, find_non_finite, places_without


class BinaryFormat:
    """Rows whose columns are named by ``fields``; a vector takes its length of them.

    ``time`` is the field that holds the event time (``units`` to the second), or None; only the fields in ``wanted``
    are looked at besides it.
    """

    def __init__(
        self,
        dtype: Literal["float64", "float32"],
        fields: Sequence[str],
        *,
        time: str | None,
        units: float,
        wanted: Collection[str],
        vectors: Mapping[str, int],
    ) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._units = units
        self._time = time
        self._columns: dict[str, int | slice] = {}
        width = 0
        for field in fields:
            length = vectors.get(field)
            if field == time or field in wanted:
                self._columns[field] = width if length is None else slice(width, width + length)
            width += 1 if length is None else length
        self._wanted = [field for field in self._columns if field in wanted]
        self._width = width
        self._size = width * self._dtype.itemsize

    def parse(self, values: list[bytes | None]) -> Parsed:
        """The values as columns; none of them holds NaN, in a row without flaw."""
        size = self._size
        read = [value for value in values if value is not None and len(value) == size]
        rejects: list[Reject] = []
        if len(read) != len(values):
            rejects = [
                Reject(place, "decode", NULL_VALUE if value is None else f"wrong length: not {size} bytes")
                for place, value in enumerate(values)
                if value is None or len(value) != size
            ]
        index = places_without(len(values), [reject.index for reject in rejects])
        numbers = np.frombuffer(b"".join(read), self._dtype).reshape(len(read), self._width)
        columns = {field: self._column(numbers, place) for field, place in self._columns.items()}
        times = None if self._time is None else columns[self._time] / self._units
        parsed = Parsed(index, None, times, {field: columns[field] for field in self._wanted}, rejects)
        for row, field in find_non_finite(columns):
            parsed.flaws[row] = Reject(int(index[row]), "decode", f"{NON_FINITE}: {field}")
        return parsed

    @staticmethod
    def _column(numbers: npt.NDArray[np.floating], place: int | slice) -> Floats:
        return np.ascontiguousarray(numbers[:, place], np.float64)
