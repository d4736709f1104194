"""Events that come a second time because a person said so: dead letters that were sent back to their source topic.

A replayed record is marked by headers, so that it is folded by those alone that had refused it: by the app that wrote
the letter, and in it by one table, if the others had folded the event already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.batch import Deletes, Events, Headers, Reject, WireBatch
from pipeline.core.decode import without
from pipeline.core.formats.parsed import places_without

MARK = "streamfold."
"""What the names of our own headers on a source topic begin with."""

_APP, _TABLE, _COUNT = MARK + "app", MARK + "table", MARK + "replays"


@dataclass(frozen=True)
class Replay:
    """Whom a replayed record is for (``table`` None: every table of its stream), and how often it was replayed."""

    app: str
    table: str | None
    count: int

    def headers(self) -> Headers:
        """The headers that say so."""
        table = [] if self.table is None else [(_TABLE, self.table.encode())]
        return [(_APP, self.app.encode()), *table, (_COUNT, b"%d" % self.count)]

    @classmethod
    def of(cls, headers: Headers) -> Replay | None:
        """What a record's headers say; None if it is not a replayed one."""
        found = {name: (value or b"").decode("utf-8", "replace") for name, value in headers if name.startswith(MARK)}
        if not found.get(_APP):
            return None
        count = found.get(_COUNT, "")
        return cls(found[_APP], found.get(_TABLE), int(count) if count.isascii() and count.isdigit() else 1)


class Replays:
    """The replayed records of a batch, as one app sees them, by their places."""

    def __init__(self, batch: WireBatch, app: str, tables: Sequence[str]) -> None:
        self._app = app
        self._tables = tables
        self._by_place: dict[int, Replay] = {}
        if batch.headers:
            marked = {offset: Replay.of(headers) for offset, headers in batch.headers.items()}
            places = ((place, marked.get(offset)) for place, offset in enumerate(batch.offsets))
            self._by_place = {place: replay for place, replay in places if replay is not None}

    def __bool__(self) -> bool:
        return bool(self._by_place)

    def count(self, place: int) -> int:
        """How often the record at this place was replayed."""
        replay = self._by_place.get(place)
        return 0 if replay is None else replay.count

    def events_of(self, table: str, events: Events) -> Events:
        """Those that the table is to fold."""
        others = self._not_for(table)
        rows = [row for row, place in enumerate(events.index.tolist()) if place in others] if others else []
        return without(events, rows) if rows else events

    def deletes_of(self, table: str, deletes: Deletes) -> Deletes:
        """Those that are for the table."""
        others = self._not_for(table)
        kept = places_without(len(deletes), [n for n, place in enumerate(deletes.places) if place in others]).tolist()
        return Deletes([deletes.places[n] for n in kept], [deletes.keys[n] for n in kept])

    def rejects_of(self, rejects: Sequence[Reject]) -> list[Reject]:
        """Those that are refused by whom they were for, each by as many as it was for."""
        return [mine for reject in rejects if (mine := self._addressed(reject)) is not None]

    def _addressed(self, reject: Reject) -> Reject | None:
        replay = self._by_place.get(reject.index)
        if replay is None or (replay.app == self._app and replay.table in (None, reject.table)):
            return reject
        if replay.app != self._app or reject.table is not None or replay.table not in self._tables:
            return None
        return Reject(reject.index, reject.stage, reject.reason, replay.table)

    def _not_for(self, table: str) -> Mapping[int, Replay]:
        return {
            place: replay
            for place, replay in self._by_place.items()
            if replay.app != self._app or replay.table not in (None, table)
        }
