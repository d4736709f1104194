"""What an owner of the model has in memory and writes: `Partition`, its cuts, its meta record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.model_kafka import Record

META = "meta"

Offsets = tuple[int, ...]
"""A key's state: the offsets of all events that were folded into it, in order. What could show more of a fold?"""


class GapError(Exception):
    """A batch does not start where the last one ended."""


class Meta(NamedTuple):
    next_offset: int
    keys: int


class Cut(NamedTuple):
    next_offset: int
    changelog: list[tuple[str, object]]
    outputs: list[tuple[str, object]]


class Batch(NamedTuple):
    start: int
    next: int
    records: list[Record]
    assignment: int


@dataclass
class Partition:
    """What is folded: the state, what changed since the last cut, the outputs not yet committed."""

    position: int = 0
    state: dict[str, Offsets] = field(default_factory=dict)
    meta: Meta | None = None
    changed: set[str] = field(default_factory=set)
    outbox: list[tuple[str, object]] = field(default_factory=list)
    cut_position: int = 0

    def apply(self, records: Iterable[Record]) -> None:
        """`Changelog.apply`: the last record of a key wins."""
        for record in records:
            if record.key == META:
                assert isinstance(record.value, Meta)
                self.meta = record.value
            elif record.value is None:
                self.state.pop(record.key, None)
            else:
                assert isinstance(record.value, tuple)
                self.state[record.key] = record.value

    def resume(self, position: int) -> None:
        self.position = self.cut_position = position

    def fold(self, batch: Batch, *, contiguous: bool) -> None:
        if contiguous and batch.start != self.position:
            raise GapError
        for record in batch.records:
            self.outbox.append(fold_event(self.state, record))
            self.changed.add(record.key)
        self.position = batch.next

    def cut(self) -> Cut:
        """Step 1."""
        rows: list[tuple[str, object]] = [(key, self.state.get(key)) for key in sorted(self.changed)]
        cut = Cut(self.position, [*rows, (META, Meta(self.position, len(self.state)))], self.outbox)
        self.changed, self.outbox, self.cut_position = set(), [], self.position
        return cut


def fold_event(state: dict[str, Offsets], event: Record) -> tuple[str, object]:
    """Fold one event, a null deletes its key. Returns the result to be published."""
    if event.value is None:
        state.pop(event.key, None)
    else:
        state[event.key] = (*state.get(event.key, ()), event.offset)
    return event.key, (event.offset, state.get(event.key))
