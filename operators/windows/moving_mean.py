"""The sum and the mean of a key's newest events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.arithmetic import divide
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import accumulate, running_sums, two_sum
from operators.operator import Field, Shape, State
from operators.windows.aggregate import Mask, Parts
from operators.windows.event_window import Moves, Sliding
from operators.windows.moving import Moving

_TRUSTED = 2.0**20
"""A running sum is good while it is this many times what its roundings lost: far below 1e-12 even after 1e9 events."""


class Sums(Sliding):
    """Sums with what their roundings lost."""

    names = ("sum", "lost")
    empty = (0.0, 0.0)

    def lift(self, inputs: Floats) -> Parts:
        """The inputs."""
        return np.ones(len(inputs)), inputs, np.zeros_like(inputs)

    def combine(self, one: Parts, other: Parts) -> Parts:
        """The sum of the sums."""
        total, error = two_sum(one[1], other[1])
        return one[0] + other[0], total, one[2] + other[2] + error

    def running(self, parts: Parts) -> Parts:
        """Running sums."""
        number, high, low = parts
        zero = np.zeros(high.shape[1:])
        return np.cumsum(number, axis=0), *accumulate(zero, zero, high, low)

    def described(self, parts: Parts) -> dict[str, Floats]:
        """``sum``."""
        return {"sum": parts[1] + parts[2]}

    def fields(self, shape: Shape) -> tuple[Field, ...]:
        """The sum, what is lost of it, and the greatest that was."""
        return Field("sum", shape), Field("lost", shape), Field("drift", shape)

    def slide(self, state: State, moves: Moves, *, each: bool) -> tuple[Parts | None, Mask]:
        """Add what enters and subtract what leaves; that is not enough where what was lost at any time matters."""
        change, error = two_sum(moves.enters, -moves.leaves)
        running = running_sums(moves.groups, state["sum"], state["lost"], change, error, each=each)
        if running is None:
            state["drift"] = np.maximum(state["drift"], np.abs(state["lost"]))
            # Or what is lost would grow with every batch.
            state["sum"], state["lost"] = two_sum(state["sum"], state["lost"])
            total, drift = state["sum"], state["drift"]
            return None, (np.abs(total) < _TRUSTED * drift).any(axis=tuple(range(1, total.ndim)))
        high, low = running
        drift = moves.greatest(state["drift"], np.abs(low))
        state["drift"] = drift
        return (moves.number, high, low), moves.any(np.abs(high + low) < _TRUSTED * drift[moves.groups.segment])

    def settle(self, state: State, groups: Ints, windows: Floats, inside: Mask) -> None:
        """Sum the windows up."""
        zero = np.zeros(windows.shape[1:])
        high, low = (sums[-1] for sums in accumulate(zero, zero, windows))
        state["sum"][groups], state["lost"][groups], state["drift"][groups] = high, low, np.abs(low)

    def kept(self, state: State, number: Floats) -> Parts:
        """The sums."""
        return number, state["sum"], state["lost"]


@dataclass(frozen=True, kw_only=True)
class MovingSum(Moving):
    """The sum of the newest events of a number, or of a vector element by element: so many, or a span of time.

        s_i = x_{i-c+1} + ... + x_i
        s_i = sum_j x_j,  j over the events up to i with t - W < t_j <= t,  t = max(t_1, ..., t_i)

    Parameters: ``value``, the field; ``window``, c, in events, or W, a duration such as "5m" of event time;
    ``min_count``, how many events there must be in the window for a result. With a duration also ``closed`` and either
    ``panes`` or ``max_events``, as in ``moving_mean``, where it says what becomes of late events.
    State: that of ``moving_mean``; no spike leaves a trace.
    References: van Herk 1992 and Gil, Werman 1993 (sums of all windows without subtraction).
    """

    aggregate: ClassVar[Sliding] = Sums()

    def statistic(self, parts: Parts) -> Floats:
        """The sum."""
        return parts[1] + parts[2]


@dataclass(frozen=True, kw_only=True)
class MovingMean(Moving):
    """The mean of the newest events of a number, or of a vector element by element: so many, or a span of time.

        m_i = (x_{i-c+1} + ... + x_i) / c
        m_i = sum_j x_j / n,  j over the n events up to i with t - W < t_j <= t,  t = max(t_1, ..., t_i)

    Parameters: ``value``, the field; ``window``, c, in events, or W, a duration such as "5m" of event time;
    ``min_count``, how many events there must be in the window for a result. Before the window is full the mean is of
    the events that are there. With a duration also ``closed``, "right", or "both" to have t_j = t - W in it too; and
    either ``panes``, 60 if it is left out, or ``max_events``.

    A window of time ends at t, the newest time of the key's events so far, which never goes back. The result of a late
    event is the mean of that window, with the event in it if its time is. An event whose time the window has passed
    when it comes is not in it, but counted, as ``late``. One from a far future empties the window of all others.
    Times count to the microsecond.

    By ``panes`` the sums of panes of W / ``panes`` each are kept. A late event is added to its pane, and the window
    loses its oldest pane as a whole. So it is W long when t is a pane's edge, a multiple of W / ``panes``; else it is
    shorter by less than a pane, or longer by less than one with ``closed = "both"``.

    By ``max_events`` the inputs are kept with their times. The window is exact as long as no more events than that come
    while one of them is in it; if more do, the oldest to arrive make room, whatever their time.

    State: by events, the last c inputs and their compensated sum, 1 + (c + 3)d numbers. The sum gains the new event and
    loses the one that leaves. Where that cancels so much (a spike of 1e300 leaves beside a 1) that what the roundings
    lost could matter, the window is summed afresh, so no digit is lost for good. By p panes, p + 1 if closed on both
    sides, 3 + p (1 + 2d) numbers; by n ``max_events`` 3 + n (1 + d). In these nothing is ever subtracted.
    References: van Herk 1992 and Gil, Werman 1993 (sums of all windows without subtraction); Li, Maier, Tufte,
    Papadimos, Tucker: No pane, no gain, SIGMOD Record 34 (2005).
    """

    aggregate: ClassVar[Sliding] = Sums()

    def statistic(self, parts: Parts) -> Floats:
        """The mean."""
        return divide(parts[1] + parts[2], parts[0])
