"""A hop in one source partition: events go on to the partition of their key, and no state is kept.

Its changelog holds the meta record alone. That is what tells from which offset to go on: the group's offset may lag
behind, and an event that is sent on twice is folded twice.
"""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np

from operators.merging import Merging
from pipeline.core.batch import Deletes, Events, Reject
from pipeline.core.config.model import App
from pipeline.core.config.repartition import Hop
from pipeline.core.decode import MAX_KEY_BYTES, without
from pipeline.core.formats.forwarded import ForwardedFormat
from pipeline.core.state import TableState
from pipeline.core.table import Append, Counts, TablePartition, size_of


def hop_partition(app: App, hop: Hop, partition: int, targets: int) -> HopPartition:
    """What a hop does in one source partition: events are sent on as they are, or what was folded of them."""
    kind = FoldingHop if hop.target.origin.two_stage else HopPartition
    return kind(app, hop, partition, targets)


def home_of(key: bytes, partitions: int) -> int:
    """The partition, of so many, that hops send a key's events to."""
    return crc32(key) % partitions


class HopPartition(TablePartition):
    """One hop in one source partition, to a topic of so many ``targets``.

    The partition of a key is its CRC-32 modulo their number, as librdkafka's default partitioner has it.
    """

    def __init__(self, app: App, hop: Hop, partition: int, targets: int) -> None:
        super().__init__(app, hop, partition)
        self._format = ForwardedFormat.of(hop.target)
        self._number = hop.number
        self._id = None if hop.dedupe is None else hop.dedupe.field
        self._targets = [Append(self.output_topic, target, [], []) for target in range(targets)]

    def fold(self, events: Events, deletes: Deletes, counts: Counts) -> tuple[list[Reject], int]:
        """Keep the events' records for the next cut; those are refused whose ids would make them too large."""
        events = self._keyed(events)
        rejects = self._too_long(events)
        if rejects:
            events = without(events, np.searchsorted(events.index, [reject.index for reject in rejects]).tolist())
        return rejects, self._send(events)

    def _keyed(self, events: Events) -> Events:
        """By the table's own key, if it has one, those events that have one."""
        keys = events.table_keys.get(self.table.name)
        if keys is None:
            return events
        events = replace(events, keys=keys)  # type: ignore[arg-type] # without those that have none
        lacking = [row for row, key in enumerate(keys) if key is None] if None in keys else []
        return without(events, lacking) if lacking else events

    def _send(self, events: Events) -> int:
        """Put the events' records where they go. Returns about how many bytes they are."""
        keys = events.keys
        target = np.fromiter(map(crc32, keys), np.uint32, len(keys)) % len(self._targets)
        order = np.argsort(target.astype(np.uint16), kind="stable")
        values = self._format.write(events, self._number, self.partition, order)
        ordered = list(map(keys.__getitem__, order.tolist()))
        ends = np.cumsum(np.bincount(target, minlength=len(self._targets))).tolist()
        for append, start, end in zip(self._targets, [0, *ends], ends, strict=False):
            append.keys.extend(ordered[start:end])
            append.values.extend(values[start:end])
        return size_of(keys) + size_of(values)

    def _too_long(self, events: Events) -> list[Reject]:
        ids = [] if self._id is None else events.ids[self._id]
        long = [row for row, name in enumerate(ids) if name is not None and len(name) > MAX_KEY_BYTES]
        reason = f"id too long: more than {MAX_KEY_BYTES} bytes"
        return [Reject(int(events.index[row]), "decode", reason, self.table.name) for row in long]

    def _take_outputs(self) -> list[Append]:
        taken = self._targets
        self._targets = [Append(self.output_topic, append.partition, [], []) for append in taken]
        return taken


class FoldingHop(HopPartition):
    """A hop that folds the events of a commit by their keys, and sends on the states that they leave."""

    def __init__(self, app: App, hop: Hop, partition: int, targets: int) -> None:
        super().__init__(app, hop, partition, targets)
        self._merging = {
            name: operator for name, operator in hop.target.operators.items() if isinstance(operator, Merging)
        }
        self._partial = TableState(hop)

    def fold(self, events: Events, deletes: Deletes, counts: Counts) -> tuple[list[Reject], int]:
        """Fold the events into the states of this commit."""
        known = self._partial.live
        folded = self._partial.fold(self._keyed(events))
        counts.skipped[self.table.name] += folded.skipped
        return folded.rejects, (self._partial.live - known) * self._format.size

    def _take_outputs(self) -> list[Append]:
        state, self._partial = self._partial, TableState(self._partial.table)
        rows = state.take_changed()
        columns = {
            field: column
            for name, merging in self._merging.items()
            for field, column in merging.taken(state.memories[name].gather(rows)).items()
        }
        keys = list(map(state.index.keys.__getitem__, rows.tolist()))
        self._send(Events(rows, keys, state.offsets[rows], state.times[rows], columns))
        return super()._take_outputs()
