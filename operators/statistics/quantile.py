"""Quantiles of a key's events to a stated relative accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from operators.columns.arithmetic import flat
from operators.columns.grouping import Floats, Ints
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Shape, State
from operators.options import number, numbers, whole
from operators.statistics.log_bins import LogBins, coarser
from operators.statistics.order_statistics import running_order_statistics
from operators.statistics.sketches import Sketches

_Q = "a number from 0 to 1, or a list of them"
_ACCURACY = "a number of at least 1e-6, below 1"


@dataclass(frozen=True, kw_only=True)
class Quantile(Operator):
    """The quantile of a number, or of a vector element by element, to a relative accuracy (DDSketch).

        v_q with |v_q - x_q| <= a |x_q|,  x_q = the element of rank floor(q (n - 1)), from 0, of the sorted events

    Parameters: ``value``, the field; ``q``, from 0 to 1, or a list of such numbers: the read-out is then one for each;
    ``accuracy``, a, 0.01 by default; ``bins``, how many bins may be in use.

    Events are counted in bins (gamma^(k-1), gamma^k] of their size, gamma = (1 + a) / (1 - a), of either sign, and 0 in
    one of its own. So the accuracy is the same for every q and every size from 1e-307 to 1e308. Only bins that hold an
    event take a place. When more than ``bins`` of them do, each pair of neighbours becomes one (uniform collapse):
    gamma is squared, and from then on the accuracy is tanh(2 artanh a), nearly 2 a. This is repeated as often as it has
    to be; after l times tanh(2^l artanh a) holds, for all quantiles, and ``publish = "state"`` shows it. With 512 bins
    sizes of one sign over four decades are always within 0.01.
    State: the count, and of each number the level l, how many bins are in use, and for each its number and its count,
    1 + d (2 + 2 bins) numbers. It depends on the events only, not on their order or on merges. Events can be taken
    back; the level stays.
    References: Masson, Rim, Lee: DDSketch, PVLDB 12 (2019); Epicoco et al.: UDDSketch, IEEE Access 8 (2020).
    """

    value: FieldSpec
    q: float | Sequence[float] = 0.5
    accuracy: float = 0.01
    bins: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.q if isinstance(self.q, Sequence) else (self.q,)
        if not all(0 <= q <= 1 for q in numbers("q", given, _Q)):
            raise OperatorError("q", f"found {self.q!r}, expected {_Q}")
        if isinstance(self.q, Sequence):
            object.__setattr__(self, "q", tuple(float(q) for q in self.q))
        if not 1e-6 <= number("accuracy", self.accuracy, _ACCURACY) < 1:
            raise OperatorError("accuracy", f"found {self.accuracy}, expected {_ACCURACY}")
        whole("bins", self.bins, "of bins", at_least=8)

    @property
    def algebra(self) -> Algebra:
        """A group: counts add up."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, and by number the level, how many bins are in use, and their numbers and counts in order."""
        shape = shapes["value"]
        single = (Field("level", shape, "<i4"), Field("used", shape, "<i4"))
        table = (Field("bin", (*shape, self.bins), "<i4"), Field("events", (*shape, self.bins), "<i8"))
        return Layout((Field("count", dtype="<i8"), *single, *table))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Count the batch; the quantiles after each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        sketches = Sketches.of(state)
        row, code = self._coded(batch, sketches)
        place = sketches.places(row, code)
        result = self._running(sketches, batch, before, row, place) if each else None
        sketches.count(row, place)
        sketches.narrow(state)
        return result

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The quantiles."""
        sketches, shape = Sketches.of(state), state["level"].shape
        count = np.broadcast_to(state["count"].reshape(-1, *(1,) * (len(shape) - 1)), shape).reshape(-1)
        below = np.concatenate([[0], np.cumsum(sketches.events)])
        begin = sketches.room * np.arange(len(count))
        at = np.searchsorted(below, below[begin] + self._ranks(count), side="right") - 1
        values = np.where(count > 0, self._log_bins.values(sketches.codes(at), sketches.level), np.nan)
        return self._shaped(values.reshape(len(values), *shape))

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "accuracy": a, "values": [...], "events": [...]}``: what stands for each bin, and its count.

        Of a vector the last three are lists, with one for each number.
        """
        bins, shape = self._log_bins, state["level"].shape[1:]
        accuracy = bins.accuracy_on(state["level"])
        values = bins.values(state["bin"], state["level"][..., None])
        rows = []
        for g, count in enumerate(state["count"].tolist()):
            lines = [
                (
                    accuracy[at].item(),
                    values[at][: state["used"][at]].tolist(),
                    state["events"][at][: state["used"][at]].tolist(),
                )
                for at in ((g, *rest) for rest in np.ndindex(shape))
            ]
            parts = [list(part) if shape else part[0] for part in zip(*lines, strict=True)]
            rows.append({"count": count, **dict(zip(("accuracy", "values", "events"), parts, strict=True))})
        return rows

    def merge(self, state: State, other: State) -> None:
        """Add the counts of equal bins, on the higher of both levels."""
        sketches, more = Sketches.of(state), Sketches.of(other).table()
        level = np.maximum(sketches.level, more.level)
        more = more.raised(level)
        sketches.put(sketches.table().raised(level).joined(more.row, more.code, more.events).narrowed(self.bins))
        state["count"] += other["count"]

    def retract(self, state: State, batch: Batch) -> None:
        """Take events out of their bins.

        Raises:
            ValueError: a bin has fewer events than are taken out of it.
        """
        sketches = Sketches.of(state)
        row, code = self._coded(batch, sketches)
        table = sketches.table().joined(row, code, np.full(len(row), -1))
        state["count"] -= batch.groups.count
        if (state["count"] < 0).any():
            return
        if (table.events < 0).any():
            raise ValueError("an event is taken back that had never come")
        sketches.put(table.narrowed(self.bins))

    @cached_property
    def _log_bins(self) -> LogBins:
        return LogBins(self.accuracy)

    @cached_property
    def _qs(self) -> Floats:
        return np.array(self.q, float).reshape(-1)

    def _coded(self, batch: Batch, sketches: Sketches) -> tuple[Ints, Ints]:
        """Of each number of the batch the sketch that it belongs to and its bin there: (d N,) both.

        Each number of a vector has a sketch of its own. Numbers are sorted by which of the vector they are, and then as
        the events, so that those of a sketch are neighbours.
        """
        numbers = flat(batch.columns["value"]).T
        row = (batch.groups.segment * len(numbers) + np.arange(len(numbers))[:, None]).reshape(-1)
        return row, coarser(self._log_bins.codes(numbers.reshape(-1)), sketches.level[row].astype(np.int64))

    def _running(self, sketches: Sketches, batch: Batch, before: Ints, row: Ints, place: Ints) -> Floats:
        """The quantiles after each event; the sketches have a bin for it, but not yet the event."""
        groups, shape = batch.groups, batch.columns["value"].shape
        d, room = len(row) // max(shape[0], 1), sketches.room
        first = (groups.start[groups.segment] + shape[0] * np.arange(d)[:, None]).reshape(-1)
        begin = room * row
        ends, rank = (begin, begin + sketches.used[row]), self._ranks(np.tile(groups.ordinals(before), d))
        at = running_order_statistics(place, first, sketches.events.reshape(-1), ends, rank)
        level = sketches.level[row].astype(np.int64)
        rise: Ints | int = 0
        if room > self.bins:
            rise = sketches.table().narrowed(room).rise(row, sketches.codes(begin + place), first, self.bins)
        values = self._log_bins.values(coarser(sketches.codes(at), rise), level + rise)
        return self._shaped(np.moveaxis(values.reshape(len(values), *shape[1:], shape[0]), -1, 1))

    def _ranks(self, count: Ints) -> Ints:
        """Of so many sorted events (M,) the ranks of the quantiles, (Q, M)."""
        return np.floor(self._qs[:, None] * (count - 1)).astype(np.int64)

    def _shaped(self, values: Floats) -> Floats:
        """Values (Q, N, ...) as they are read: (N, Q, ...), or (N, ...) for a single quantile."""
        return np.moveaxis(values, 0, 1) if isinstance(self.q, Sequence) else values[0]
