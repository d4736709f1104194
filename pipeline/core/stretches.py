"""Which offsets are done, where not all up to some offset are: text that goes with a committed offset."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from itertools import accumulate, chain

import msgspec


class Stretches:
    """A set of offsets as disjoint stretches ``[start, end)``, ascending."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """These offsets too; stretches that touch become one."""
        if start >= end:
            return
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._ends[at]

    def first_missing(self, offset: int) -> int:
        """The first offset from this one on that is not in it."""
        at = bisect_right(self._starts, offset) - 1
        return self._ends[at] if offset in self else offset

    def text(self, start: int) -> str:
        """What there is of it beyond this offset; "" if nothing is."""
        bounds = [bound for pair in zip(self._starts, self._ends, strict=True) if pair[0] > start for bound in pair]
        if not bounds:
            return ""
        steps = [after - before for before, after in zip([start, *bounds], bounds, strict=False)]
        return b64encode(zlib.compress(msgspec.msgpack.encode(steps), 9)).decode()

    @classmethod
    def of(cls, start: int, text: str) -> Stretches:
        """All before this offset, and what the text has beyond it. Raises ValueError for text that is none."""
        self = cls()
        self.add(0, start)
        if text:
            try:
                steps = msgspec.msgpack.decode(zlib.decompress(b64decode(text, validate=True)), type=list[int])
            except (zlib.error, msgspec.MsgspecError) as error:
                raise ValueError(str(error)) from None
            bounds = list(accumulate(chain([start], steps)))[1:]
            for low, high in zip(bounds[::2], bounds[1::2], strict=True):
                self.add(low, high)
        return self
