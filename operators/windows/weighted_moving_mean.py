"""The mean of the newest events of a key, each weighted by its age."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.arithmetic import divide
from operators.columns.grouping import Floats, Ints
from operators.columns.history import key_slices, newest, newest_lists, stretches
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Ring, Shape, State
from operators.options import numbers, whole


@dataclass(frozen=True, kw_only=True)
class WeightedMovingMean(Operator):
    """The weighted mean of the newest events of a number, or of a vector element by element.

        m_i = (w_1 x_{i-c+1} + ... + w_c x_i) / (w_1 + ... + w_c)

    Parameters: ``value``, the field; ``weights``, oldest first, as many as the window has events; ``min_count``, how
    many events there must be for a result. Before the window is full the newest event still has the last weight, and
    the sum of the weights in use divides.
    State: the count and the last c inputs, 1 + cd numbers. Nothing runs, so nothing drifts.
    """

    value: FieldSpec
    weights: Sequence[float]
    min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = numbers("weights", self.weights, "a list of finite numbers, the oldest event's first")
        if _is_zero(weights):
            raise OperatorError("weights", f"found {list(weights)}, which sum to 0, expected a sum other than 0")
        object.__setattr__(self, "weights", weights)
        whole("min_count", self.min_count, "of events", at_most=len(weights))

    @property
    def algebra(self) -> Algebra:
        """Ordered: the newest events are all there is."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and the window."""
        return Layout((Field("count", dtype="<i8"),), (Ring("value", len(self.weights), shapes["value"]),))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Move the window over the batch; its weighted mean after each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        if not each:
            return None
        column = batch.columns["value"]
        ordinals = batch.groups.ordinals(before)
        result = np.empty_like(column)
        for stretch in stretches(batch.groups, before, len(self.weights)):
            line = stretch.lay_out(state.rings["value"], column)
            result[stretch.events] = self._means(line, stretch.at, ordinals[stretch.events])
        return result

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The weighted mean of the window."""
        reach, count, ring = len(self.weights), state["count"], state.rings["value"]
        result = np.empty((len(count), *ring.array.shape[2:]))
        for keys in key_slices(len(count), reach):
            line = newest(ring, count, reach, keys).reshape((-1, *ring.array.shape[2:]))
            result[keys] = self._means(line, np.arange(reach - 1, len(line), reach), count[keys])
        return result

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "window": [oldest, ..., newest]}``."""
        windows = newest_lists(state.rings["value"], state["count"])
        return [{"count": n, "window": window} for n, window in zip(state["count"].tolist(), windows, strict=True)]

    def _means(self, line: Floats, at: Ints, count: Ints) -> Floats:
        """The means of the windows that end at these places of a line, after ``count`` inputs each."""
        total = np.zeros((len(at), *line.shape[1:]))
        for lag, weight in zip(range(len(self.weights) - 1, -1, -1), self.weights, strict=True):
            total += weight * line[at - lag]
        have = np.minimum(count, len(self.weights))
        return divide(total, np.where(count < self.min_count, 0.0, self._weight_of_newest()[have]))

    def _weight_of_newest(self) -> Floats:
        """The sum of the last n weights, for n from 0 to all; exactly 0 where it is but a rounding."""
        parts = [self.weights[len(self.weights) - n :] for n in range(len(self.weights) + 1)]
        return np.array([0.0 if _is_zero(part) else math.fsum(part) for part in parts])


def _is_zero(weights: Sequence[float]) -> bool:
    return abs(math.fsum(weights)) <= 1e-15 * math.fsum(map(abs, weights))
