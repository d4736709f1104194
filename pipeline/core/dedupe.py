"""Which events were folded before, by their ids: an event that comes again within a window is folded once.

An event is a duplicate if one of the same key and id was folded at most ``reach`` offsets before it and, if the window
is a duration, with an event time at most so far away. That depends on the events of its key alone, not on where batches
are split; an event that was refused may come again, mended.

The last ids are kept in a ring by offset, so what they take is bounded, whatever they are. The ring is cut into pages,
which a commit logs where they changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from sys import getsizeof
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.batch import Floats, Ints
from pipeline.core.config.model import Dedupe
from pipeline.core.hashing import hashes
from pipeline.core.readout import Mask

Slots = npt.NDArray[Any]

_SLOT = np.dtype([("mark", "V16"), ("next", "<i8"), ("time", "<f8")])  # ``next`` is the offset and one, 0 if empty
_PAGE_SLOTS = 32
_OBJECT_BYTES = 84  # a mark and an offset, as Python keeps them

PAGE_BYTES = _PAGE_SLOTS * _SLOT.itemsize
"""Length of a page in the changelog."""


class Seen:
    """The events that a table's partition folded last, each by a *mark* of 16 bytes, the hash of its key and id."""

    def __init__(self, dedupe: Dedupe) -> None:
        self._forgotten = 0
        self._reach = dedupe.reach
        self._seconds = dedupe.seconds
        pages = -(-self._reach // _PAGE_SLOTS) + 1
        # Zeros that were never written take no memory: the ring grows with what is in it.
        self._slots: Slots = np.zeros(pages * _PAGE_SLOTS, _SLOT)
        self._last: dict[bytes, int] = {}
        self._marks: list[bytes] = []
        self._offsets: Ints = np.zeros(0, np.int64)
        self._times: Floats = np.zeros(0)
        self._batch: dict[bytes, tuple[int, float]] = {}
        self._changed: set[int] = set()
        self._logged: list[tuple[int, Slots]] = []

    # Deciding

    def begin(self, keys: Sequence[bytes], ids: Sequence[bytes], offsets: Ints, times: Floats) -> None:
        """A batch has come, with these keys and ids; what is said of events from here on, is by their places in it."""
        self._marks, self._offsets, self._times = hashes(keys, ids), offsets, times

    def fresh(self, index: Ints) -> Mask:
        """Which of these events are no duplicates, ``(N,)``; those of a key in order, after all that were folded."""
        marks, offsets, times = self._at(index)
        fresh = np.ones(len(marks), bool)
        known = list(map(self._known, marks)) if self._batch else list(map(self._last.get, marks))
        if known.count(None) == len(known) == len(set(marks)):
            return fresh
        first: dict[bytes, int] = {}
        places = list(map(first.setdefault, marks, range(len(marks))))
        latest: dict[bytes, tuple[int, float]] = {}
        for n, (mark, before, place) in enumerate(zip(marks, known, places, strict=True)):
            if before is None and place == n:
                continue
            event = int(offsets[n]), float(times[n])
            if mark not in latest:
                latest[mark] = self._event(mark, before) if before is not None else (int(offsets[place]), times[place])
            if self._within(event, latest[mark]):
                fresh[n] = False
            else:
                latest[mark] = event
        return fresh

    def remember(self, index: Ints) -> None:
        """These events of the batch are folded."""
        marks, offsets, times = self._at(index)
        self._batch.update(zip(marks, zip(offsets.tolist(), times.tolist(), strict=True), strict=True))

    def settle(self) -> None:
        """All of the batch that will be is folded: make room in the ring for it."""
        if not self._batch:
            return
        for mark in self._last.keys() & self._batch.keys():
            self._slots[self._last.pop(mark) % len(self._slots)] = np.zeros((), _SLOT)
        offsets, times = zip(*self._batch.values(), strict=True)
        new = np.empty(len(self._batch), _SLOT)
        new["mark"] = np.frombuffer(b"".join(self._batch), "V16")
        new["next"], new["time"] = np.array(offsets) + 1, times
        self._batch = {}
        new = new[np.argsort(new["next"])]
        kept = new["next"] > new["next"][-1] - len(self._slots)
        gone, new = new[~kept], new[kept]
        places = (new["next"] - 1) % len(self._slots)
        old = self._slots[places]
        old = old[old["next"] > 0]
        deque(map(self._last.__delitem__, old["mark"].tolist()), maxlen=0)
        if self._seconds is not None:
            times_gone = np.concatenate([old["time"], gone["time"]])
            self._forgotten += int(np.count_nonzero(times_gone >= new["time"][-1] - self._seconds))
        self._slots[places] = new
        self._last.update(zip(new["mark"].tolist(), (new["next"] - 1).tolist(), strict=True))
        self._changed.update(np.unique(places // _PAGE_SLOTS).tolist())

    def _at(self, index: Ints) -> tuple[Sequence[bytes], Ints, Floats]:
        marks = self._marks
        at = marks if len(index) == len(marks) else list(map(marks.__getitem__, index.tolist()))
        return at, self._offsets[index], self._times[index]

    def _known(self, mark: bytes) -> int | None:
        found = self._batch.get(mark)
        return self._last.get(mark) if found is None else found[0]

    def _event(self, mark: bytes, offset: int) -> tuple[int, float]:
        """Offset and time of the event of that mark that was folded last, at this offset."""
        return self._batch.get(mark) or (offset, float(self._slots[offset % len(self._slots)]["time"]))

    def _within(self, event: tuple[int, float], before: tuple[int, float]) -> bool:
        near = event[0] - before[0] <= self._reach
        return near and (self._seconds is None or abs(event[1] - before[1]) <= self._seconds)

    # What the changelog keeps

    def take_changed(self) -> tuple[list[int], list[bytes]]:
        """The pages that changed since the last call: their numbers and contents."""
        pages, self._changed = sorted(self._changed), set()
        return pages, [page.tobytes() for page in self._slots.reshape(-1, _PAGE_SLOTS)[pages]]

    def take_forgotten(self) -> int:
        """How many ids had to go since the last call for want of room, though their time was still in the window."""
        number, self._forgotten = self._forgotten, 0
        return number

    def restore_pages(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """Take in pages as :meth:`take_changed` gave them, number and content, also those of another window."""
        self._logged += [(number, np.frombuffer(raw, _SLOT)) for number, raw in pages]

    def restored(self) -> None:
        """All pages are in. Ids that another window had in another page are logged with the next change."""
        pages = np.repeat(np.array([number for number, _ in self._logged], np.int64), _PAGE_SLOTS)
        logged, self._logged = np.concatenate([np.empty(0, _SLOT), *(slots for _, slots in self._logged)]), []
        order = np.argsort(logged["next"])
        order = order[logged["next"][order] > 0]
        logged, pages = logged[order], pages[order]
        events = zip((logged["next"] - 1).tolist(), logged["time"].tolist(), strict=True)
        self._batch = dict(zip(logged["mark"].tolist(), events, strict=True))
        self.settle()
        self.take_forgotten()
        places = (logged["next"] - 1) % len(self._slots)
        moved = (places // _PAGE_SLOTS != pages) & (self._slots["next"][places] == logged["next"])
        self._changed = set((places[moved] // _PAGE_SLOTS).tolist())

    def __len__(self) -> int:
        return len(self._last)

    @property
    def nbytes(self) -> int:
        """Bytes that the marks take."""
        return getsizeof(self._last) + len(self._last) * (_OBJECT_BYTES + _SLOT.itemsize)


def are_pages(contents: Sequence[bytes]) -> bool:
    """Whether these can be pages as :meth:`Seen.take_changed` gives them."""
    if any(len(raw) != PAGE_BYTES for raw in contents):
        return False
    slots = np.frombuffer(b"".join(contents), _SLOT)
    return bool((slots["next"] >= 0).all() and np.isfinite(slots["time"]).all())
