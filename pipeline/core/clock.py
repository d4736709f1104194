"""The event time of a table's partition, by which keys grow old: a function of the log alone, whatever its batches.

Time goes on only when two events in a row have reached it, so one event from the future moves nothing. Of all that
passed only *marks* are kept, one for each 32nd part of the time to live: from this offset on, it was at least this
late. They go with the meta record of each commit, and so a key's age follows from the offset of its last event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
import numpy as np

from pipeline.core.batch import Floats, Ints

_MARKS = 32


Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Of a record."""


class Passed(msgspec.Struct, frozen=True):
    """What a clock knows: its marks and the newest event, each a time (Unix seconds) and an offset."""

    marks: tuple[tuple[float, Offset], ...] = ()
    newest: tuple[float, Offset] | None = None


@dataclass(frozen=True)
class Clock:
    """Tells whose last event is longer ago than ``ttl`` seconds: late by at most a sixteenth of it, never too early."""

    ttl: float
    passed: Passed

    def after(self, times: Floats, offsets: Ints) -> tuple[Clock, list[tuple[int, int]]]:
        """The clock after these events, in order of arrival, and where keys expire.

        An expiry ``(place, offset)`` drops, just before the event at that place is folded, every key whose last event
        is before that offset.
        """
        if not len(times):
            return self, []
        marks, newest = list(self.passed.marks), self.passed.newest
        time, offset = newest or (-np.inf, -1)
        before, from_offset = np.append(time, times[:-1]), np.append(offset, offsets[:-1])
        reached = np.minimum(before, times)
        step, expiries, place = self.ttl / _MARKS, list[tuple[int, int]](), int(newest is None)
        due = marks[-1][0] + step if marks else -np.inf
        if place < len(reached) and reached[place:].max() >= due:
            latest = np.maximum.accumulate(reached)
            while (place := place + int(np.searchsorted(latest[place:], due))) < len(latest):
                now = float(latest[place])
                marks.append((now, int(from_offset[place])))
                old = sum(time + self.ttl + step <= now for time, _ in marks)
                if old:
                    expiries.append((place, marks[old][1]))
                    del marks[:old]
                due, place = now + step, place + 1
        return replace(self, passed=Passed(tuple(marks), (float(times[-1]), int(offsets[-1])))), expiries
