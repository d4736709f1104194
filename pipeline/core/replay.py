"""Events that come a second time because a person said so: dead letters that were sent back to their source topic.

A replayed record is for the states that lack its event, and for no other: not for tables that had folded it, other apps
on the topic, or a state that was reset since and has met the event itself. Each state is named by the id of its
changelog topic, in a header of the dead letter and then in one of the replayed record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.batch import Deletes, Events, Headers, Reject, WireBatch
from pipeline.core.decode import without
from pipeline.core.formats.parsed import places_without

MARK = "streamfold."
"""What the names of our own headers on a source topic begin with."""

_STATE, _COUNT = MARK + "state", MARK + "replays"


@dataclass(frozen=True)
class Replay:
    """For which states a replayed record is, and how often it was replayed."""

    states: frozenset[str]
    count: int

    def headers(self) -> Headers:
        """The headers that say so."""
        return [(_STATE, names(self.states)), (_COUNT, b"%d" % self.count)]

    @classmethod
    def of(cls, headers: Headers) -> Replay | None:
        """What a record's headers say; None if it is not a replayed one."""
        found = dict(headers)
        if _STATE not in found:
            return None
        return cls(named(found[_STATE]), number(found.get(_COUNT)) or 1)


def names(states: Iterable[str]) -> bytes:
    """States as a header has them."""
    return ",".join(sorted(states)).encode()


def named(header: bytes | None) -> frozenset[str]:
    """The states in a header."""
    return frozenset((header or b"").decode("utf-8", "replace").split(",")) - {""}


def number(header: bytes | None) -> int | None:
    """The number in a header; None for anything else."""
    return int(header) if header is not None and header.isdigit() else None


class Replays:
    """The replayed records of a batch by their places, as the tables see them whose ``states`` these are, by name."""

    def __init__(self, batch: WireBatch, states: Mapping[str, str]) -> None:
        self._states = states
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
        """Those that are refused by whom they were for: by each such table where not all tables are meant."""
        return [mine for reject in rejects for mine in self._addressed(reject)]

    def _addressed(self, reject: Reject) -> list[Reject]:
        if reject.index not in self._by_place:
            return [reject]
        meant = [table for table in self._states if self._is_for(table, self._by_place[reject.index])]
        if reject.table is not None:
            return [reject] if reject.table in meant else []
        if len(meant) == len(self._states):
            return [reject]
        return [Reject(reject.index, reject.stage, reject.reason, table) for table in meant]

    def _not_for(self, table: str) -> Collection[int]:
        return {place for place, replay in self._by_place.items() if not self._is_for(table, replay)}

    def _is_for(self, table: str, replay: Replay) -> bool:
        return self._states[table] in replay.states
