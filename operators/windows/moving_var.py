"""The variance and the standard deviation of a key's newest events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.arithmetic import divide
from operators.columns.double_double import DoubleDouble, two_product
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import accumulate, running_sums, two_sum
from operators.operator import Field, Shape, State
from operators.options import whole
from operators.windows.aggregate import Mask, Parts, spread
from operators.windows.event_window import Moves, Sliding
from operators.windows.moving import Moving

_TRUSTED = 2.0**20
"""As for sums; and squares that are so many times their distances from the mean still leave 1e-12 of these right."""

_SQUARE_ROOT = 1e150
"""The square of a number beyond may not be one, or not when a window has many of them."""


class Spreads(Sliding):
    """Means with what their roundings lost, and sums of squared distances from them."""

    names = ("mean", "lost", "squares")
    empty = (0.0, 0.0, 0.0)

    def lift(self, inputs: Floats) -> Parts:
        """Each is its own mean; what can't be squared is made something the memory refuses."""
        zero = np.zeros_like(inputs)
        return np.ones(len(inputs)), inputs, zero, np.where(np.abs(inputs) <= _SQUARE_ROOT, zero, np.inf)

    def combine(self, one: Parts, other: Parts) -> Parts:
        """Nothing is subtracted but means, whose difference is exact (Chan, Golub, LeVeque)."""
        number = one[0] + other[0]
        part = other[0] / np.maximum(number, 1.0)
        share, weight = spread(part, one[1]), spread(part * one[0], one[1])
        high, low = other[1] - one[1], other[2] - one[2]
        mean, error = two_sum(one[1], share * high)
        distance = high + low
        squares = one[3] + other[3] + (weight * distance) * distance
        return number, mean, one[2] + (error + share * low), squares

    def described(self, parts: Parts) -> dict[str, Floats]:
        """``mean`` and ``squares``."""
        return {"mean": parts[1] + parts[2], "squares": parts[3]}

    def fields(self, shape: Shape) -> tuple[Field, ...]:
        """A number that the inputs are near, and the sums of the distances from it and of their squares."""
        names = ("near", "sum", "lost", "drift", "squares", "squares_lost", "squares_drift")
        return tuple(Field(name, shape) for name in names)

    def slide(self, state: State, moves: Moves, *, each: bool) -> tuple[Parts, Mask]:
        """Add what enters and subtract what leaves; not enough where the rest is small beside what has been."""
        groups = moves.groups
        first = moves.enters[groups.start[moves.fresh]]
        state["near"][moves.fresh] = np.where(np.abs(first) <= _SQUARE_ROOT, first, 0.0)
        near = state["near"][groups.segment]
        enters = moves.enters - near
        leaves = np.where(spread(moves.full, near), moves.leaves - near, 0.0)
        change, error = two_sum(enters, -leaves)
        sums = running_sums(groups, state["sum"], state["lost"], change, error, each=True)
        (more, more_lost), (less, less_lost) = two_product(enters, enters), two_product(leaves, leaves)
        change, error = two_sum(more, -less)
        error += more_lost - less_lost
        squares = running_sums(groups, state["squares"], state["squares_lost"], change, error, each=True)
        assert sums is not None
        assert squares is not None
        state["drift"] = moves.greatest(state["drift"], np.abs(sums[1]))
        state["squares_drift"] = moves.greatest(state["squares_drift"], np.abs(squares[1]))
        mean, centred = _centred(moves.number, DoubleDouble(*sums), DoubleDouble(*squares))
        lost = state["squares_drift"][groups.segment] + np.abs(mean) * state["drift"][groups.segment]
        doubtful = (centred < _TRUSTED * lost) | (_TRUSTED * centred < squares[0])
        return (moves.number, near, mean, centred), moves.any(doubtful)

    def settle(self, state: State, groups: Ints, windows: Floats, inside: Mask) -> None:
        """Take the newest input as the number that the others are near."""
        near, zero = windows[-1], np.zeros(windows.shape[1:])
        distance = np.where(spread(inside, windows), windows - near, 0.0)
        state["near"][groups] = near
        for names, terms in (
            (("sum", "lost", "drift"), (distance, None)),
            (("squares", "squares_lost", "squares_drift"), two_product(distance, distance)),
        ):
            high, low = (sums[-1] for sums in accumulate(zero, zero, *terms))
            for name, value in zip(names, (high, low, np.abs(low)), strict=True):
                state[name][groups] = value

    def kept(self, state: State, number: Floats) -> Parts:
        """The moments that follow from the sums."""
        sums = DoubleDouble(state["sum"], state["lost"])
        squares = DoubleDouble(state["squares"], state["squares_lost"])
        return number, state["near"], *_centred(number, sums, squares)


def _centred(number: Floats, sums: DoubleDouble, squares: DoubleDouble) -> tuple[Floats, Floats]:
    """The mean of n numbers, and the sum of their squared distances from it: S_2 - S_1^2 / n."""
    n = spread(np.maximum(number, 1.0), sums.high)
    centred = squares - (sums * sums).over(n)
    return sums.rounded / n, np.maximum(centred.rounded, 0.0)


@dataclass(frozen=True, kw_only=True)
class MovingVar(Moving):
    """The variance of the newest events of a number, or of a vector element by element: so many, or a span of time.

        v_i = sum_j (x_j - m_i)^2 / (n - ddof),  j over the n events in the window,  m_i their mean

    Parameters: ``value``, the field; ``window``, in events, or a duration such as "5m" of event time; ``ddof``, 1 for
    the variance of a sample, 0 for that of these very events: where n is not above it there is no result;
    ``min_count``, how many events there must be in the window for a result. With a duration also ``closed`` and either
    ``panes`` or ``max_events``, as in ``moving_mean``, where it says what becomes of late events.
    State: by events, the last c inputs, a number near them, and the compensated sums of the distances from it and of
    their squares, 1 + (c + 7)d numbers. Where these sums cancel too much (the level has moved, or a spike has left) the
    window is put together afresh. By p panes, p + 1 if closed on both sides, 3 + p (1 + 3d) numbers: of each pane the
    mean and the squared distances from it; by n ``max_events`` 3 + n (1 + d).
    An input beyond 1e150, whose square is hardly a number, is refused; with ``max_events`` there is no result while it
    is in the window.
    References: Chan, Golub, LeVeque: Algorithms for computing the sample variance, The American Statistician 37 (1983);
    Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18 (1971).
    """

    ddof: int = 1

    aggregate: ClassVar[Sliding] = Spreads()

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("ddof", self.ddof, "of degrees of freedom", at_least=0)

    def statistic(self, parts: Parts) -> Floats:
        """The variance."""
        return divide(parts[3], np.maximum(parts[0] - self.ddof, 0.0))


@dataclass(frozen=True, kw_only=True)
class MovingStd(MovingVar):
    """The standard deviation of the newest events of a number, or of a vector: so many, or a span of time.

        s_i = sqrt(v_i)

    v is ``moving_var`` with the same options.
    Parameters: ``value``, the field; ``window``, in events, or a duration such as "5m" of event time; ``ddof``, 1 or 0;
    ``min_count``; with a duration also ``closed`` and either ``panes`` or ``max_events``.
    State: that of ``moving_var``.
    Reference: Chan, Golub, LeVeque: Algorithms for computing the sample variance, The American Statistician 37 (1983).
    """

    def statistic(self, parts: Parts) -> Floats:
        """The standard deviation."""
        return np.sqrt(super().statistic(parts))
