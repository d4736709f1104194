"""Some events of a batch, grouped by key once for all operators, and one attempt to fold them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from operators.columns.grouping import group
from operators.columns.readout import each_part, put
from operators.operator import Batch, Operator, State
from operators.state.rows import read_only
from pipeline.core.batch import Events, Floats, Ints
from pipeline.core.memory import Memory
from pipeline.core.readout import Mask, Result, carry_forward

FieldSpec = str | tuple[str, ...]


class Run:
    """Events to fold together: ``index`` (N,) are their places in the batch, ``rows`` (N,) the rows of their keys.

    ``keys`` (G,) are the distinct rows; ``groups`` is the grouping of the N events by them.
    """

    def __init__(self, events: Events, index: Ints, rows: Ints) -> None:
        self.events = events
        self.index = index
        self.rows = rows
        self.keys, self.groups = group(rows)
        self._sorted = index.take(self.groups.order)
        self._columns: dict[FieldSpec, Floats] = {}
        self._time: Floats | None = None

    def __len__(self) -> int:
        return len(self.index)

    def where(self, mask: Mask) -> Run:
        """The run of those events for which the mask (N,) holds."""
        return self if mask.all() else Run(self.events, self.index[mask], self.rows[mask])

    def batch(self, operator: Operator) -> Batch:
        """The operator's view of the run: its inputs by role."""
        return Batch(self.groups, {role: self._column(spec) for role, spec in operator.inputs().items()}, self.time)

    @property
    def time(self) -> Floats:
        """Event times, sorted like all columns."""
        if self._time is None:
            self._time = read_only(self.events.times.take(self._sorted))
        return self._time

    @property
    def newest(self) -> Ints:
        """The place in the batch of each key's last event, ``(G,)``."""
        return self._sorted[self.groups.last]

    def _column(self, spec: FieldSpec) -> Floats:
        """The sorted column, which several operators may read: none can write to it."""
        if spec not in self._columns:
            if isinstance(spec, str):
                column = self.events.columns[spec].take(self._sorted, axis=0)
            else:
                column = np.stack([self._column(name) for name in spec], axis=1)
            self._columns[spec] = read_only(column)
        return self._columns[spec]


@dataclass
class Attempt:
    """Operators folded into copies of their state; nothing is stored until :meth:`accept`.

    ``trouble`` says why it can't be accepted, as (stage, reason), or is None; ``results`` hold each event's results in
    the order of the run.
    """

    run: Run
    trouble: tuple[str, str] | None = None
    results: dict[str, Result] = field(default_factory=dict)
    _folded: list[tuple[Memory, Run, State, Batch]] = field(default_factory=list)

    def fold(self, name: str, memory: Memory, used: Mask | None, *, each: bool) -> None:
        """Fold the run, or the events of it that the operator can use, into a copy of the memory."""
        run = self.run if used is None else self.run.where(used)
        state, batch = memory.gather(run.keys), run.batch(memory.operator)
        groups = self.run.groups
        try:
            readout = memory.operator.fold(state, batch, each=each)
            memory.check(state)
            if each:
                if readout is None:
                    raise ValueError("it gave no results")
                if used is not None and run is not self.run:
                    before = memory.operator.read(memory.gather(self.run.keys))
                    readout = carry_forward(readout, before, used[groups.order], groups.start, groups.segment)
                self.results[name] = each_part(readout, lambda part: put(part, groups.order))
        except Exception as error:
            self.trouble = ("operator", f"{type(error).__name__}: {error}")
            return
        if not _finite(state):
            self.trouble = ("fold", "overflow")
            return
        self._folded.append((memory, run, state, batch))

    def accept(self) -> None:
        """Store what was folded."""
        for memory, run, state, batch in self._folded:
            memory.scatter(run.keys, state, batch)


def _finite(state: State) -> bool:
    return all(np.isfinite(array).all() for array in state.fields.values() if array.dtype.kind == "f")
