"""The least and the greatest of a key's newest events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.columns.scan import running
from operators.operator import Field, Shape, State
from operators.windows.aggregate import Mask, Parts, spread
from operators.windows.event_window import Moves, Sliding
from operators.windows.moving import Moving


class Extremes(Sliding):
    """The least inputs, or the greatest."""

    names = ("best",)

    def __init__(self, name: str, better: np.ufunc, worst: float) -> None:
        self.name = name
        self.better = better
        self.empty = (worst,)

    def lift(self, inputs: Floats) -> Parts:
        """The inputs."""
        return np.ones(len(inputs)), inputs

    def combine(self, one: Parts, other: Parts) -> Parts:
        """The better ones."""
        return one[0] + other[0], self.better(one[1], other[1])

    def running(self, parts: Parts) -> Parts:
        """The best so far."""
        return np.cumsum(parts[0], axis=0), self.better.accumulate(parts[1], axis=0)

    def described(self, parts: Parts) -> dict[str, Floats]:
        """``min`` or ``max``."""
        return {self.name: parts[1]}

    def fields(self, shape: Shape) -> tuple[Field, ...]:
        """The best."""
        return (Field("best", shape),)

    def slide(self, state: State, moves: Moves, *, each: bool) -> tuple[Parts, Mask]:
        """Take what enters; that is not enough where what leaves may have been the only best."""
        state["best"][moves.fresh] = self.empty
        best = running(self.better, moves.groups, state["best"], moves.enters)
        state["best"] = best[moves.groups.last]
        left = (self.better(moves.leaves, best) == moves.leaves) & (moves.enters != best)
        return (moves.number, best), moves.any(left & spread(moves.full, left))

    def settle(self, state: State, groups: Ints, windows: Floats, inside: Mask) -> None:
        """The best of the windows."""
        state["best"][groups] = self.better.reduce(np.where(spread(inside, windows), windows, self.empty[0]), axis=0)

    def kept(self, state: State, number: Floats) -> Parts:
        """The best."""
        return number, state["best"]


@dataclass(frozen=True, kw_only=True)
class MovingMin(Moving):
    """The least of the newest events of a number, or of a vector element by element: so many, or a span of time.

        m_i = min(x_{i-c+1}, ..., x_i)
        m_i = min_j x_j,  j over the events up to i with t - W < t_j <= t,  t = max(t_1, ..., t_i)

    Parameters: ``value``, the field; ``window``, c, in events, or W, a duration such as "5m" of event time;
    ``min_count``, how many events there must be in the window for a result. With a duration also ``closed`` and either
    ``panes`` or ``max_events``, as in ``moving_mean``, where it says what becomes of late events.
    State: by events, the last c inputs and the least of them, 1 + (c + 1)d numbers. When that leaves, the least of
    each window is found from blocks, in three comparisons an event whatever the length. By p panes, p + 1 if closed on
    both sides, 3 + p (1 + d) numbers; by n ``max_events`` 3 + n (1 + d).
    References: van Herk 1992 and Gil, Werman 1993.
    """

    aggregate: ClassVar[Sliding] = Extremes("min", np.minimum, np.inf)

    def statistic(self, parts: Parts) -> Floats:
        """The least."""
        return parts[1]


@dataclass(frozen=True, kw_only=True)
class MovingMax(Moving):
    """The greatest of the newest events of a number, or of a vector element by element: so many, or a span of time.

        m_i = max(x_{i-c+1}, ..., x_i)
        m_i = max_j x_j,  j over the events up to i with t - W < t_j <= t,  t = max(t_1, ..., t_i)

    Parameters: ``value``, the field; ``window``, c, in events, or W, a duration such as "5m" of event time;
    ``min_count``, how many events there must be in the window for a result. With a duration also ``closed`` and either
    ``panes`` or ``max_events``, as in ``moving_mean``, where it says what becomes of late events.
    State: by events, the last c inputs and the greatest of them, 1 + (c + 1)d numbers. When that leaves, the greatest
    of each window is found from blocks, in three comparisons an event whatever the length. By p panes, p + 1 if closed
    on both sides, 3 + p (1 + d) numbers; by n ``max_events`` 3 + n (1 + d).
    References: van Herk 1992 and Gil, Werman 1993.
    """

    aggregate: ClassVar[Sliding] = Extremes("max", np.maximum, -np.inf)

    def statistic(self, parts: Parts) -> Floats:
        """The greatest."""
        return parts[1]
