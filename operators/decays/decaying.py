"""What memories that forget have in common: their options, and how the events of a batch weigh."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from operators.columns.epochs import advance, advance_at_once, align, epochs, halved
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import two_sum
from operators.duration import Duration, length, lengths
from operators.operator import Algebra, Batch, Field, Operator, OperatorError, Shape, State
from operators.options import flag, number

_ALPHA = "a number above 0, at most 1"
_SPAN = "a number of at least 1"

_SHORTEST = 2.0**-11
"""A half-life of so many events leaves nothing of the event before."""


@dataclass(frozen=True, kw_only=True)
class Decaying(Operator):
    """A memory in which the weight of an event halves with every half-life of event time (forward decay).

    With ``heads`` it is kept for each of several half-lives, and the read-out has a leading axis for them. In the state
    that axis is always there, so whatever has it is (G, H, ...).
    """

    half_life: Duration | None = None
    heads: Sequence[Duration] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.half_life is not None:
            object.__setattr__(self, "half_life", length("half_life", self.half_life))
        if self.heads is not None:
            object.__setattr__(self, "heads", lengths("heads", self.heads))

    @property
    @abstractmethod
    def half_lives(self) -> Floats:
        """The half-life of each head, (H,)."""

    def weights(self) -> tuple[Field, ...]:
        """The newest epoch and the compensated sum of the weights, by head."""
        heads = (len(self.half_lives),)
        return Field("epoch", heads, dtype="<i8"), Field("weight", heads), Field("weight_lost", heads)

    def arrive(self, state: State, batch: Batch, before: Ints) -> tuple[Floats, Floats]:
        """Let the batch come to a state that had ``before`` (G,) events, which moves its epochs on.

        Returns what each event leaves of the weights before it, a power of 2, and its own weight: (N, H) both.
        """
        clock = self.clock(state, batch, before)
        return advance(batch.groups, state["epoch"], before, clock, self.half_lives)

    def clock(self, state: State, batch: Batch, before: Ints) -> Floats:
        """The time of each event, (N,)."""
        return batch.time

    def meet(self, state: State, other: State) -> tuple[Floats, Floats]:
        """Move the epochs on to the other state's where those are later.

        Returns what is left of the weights of the one and of the other: (G, H) both.
        """
        return align(state["epoch"], state["count"], other["epoch"], other["count"])

    def headed(self, result: Floats) -> Floats:
        """A result (N, H, ...) as it is read: without the axis if there are no heads."""
        return result[:, 0] if self.heads is None else result


@dataclass(frozen=True, kw_only=True)
class ExponentiallyWeighted(Decaying):
    """A statistic of a number, or of a vector element by element, with weights that decay by time or by arrival.

    By arrival weights decay as by time, the event's number being its time and the half-life a number of events.
    """

    alpha: float | None = None
    span: float | None = None
    adjust: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("adjust", self.adjust)
        names = ("alpha", "half_life", "span", "heads")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            found, option = " and ".join(given) or "none of them", given[-1] if given else "alpha"
            raise OperatorError(option, f"found {found}, expected exactly one of {', '.join(names)}")
        if self.alpha is not None and not 0 < number("alpha", self.alpha, _ALPHA) <= 1:
            raise OperatorError("alpha", f"found {self.alpha}, expected {_ALPHA}")
        if self.span is not None and number("span", self.span, _SPAN) < 1:
            raise OperatorError("span", f"found {self.span}, expected {_SPAN}")
        if self.by_time and not self.adjust:
            raise OperatorError("adjust", f"found false beside {given[0]}, expected it beside alpha or span")

    @property
    def by_time(self) -> bool:
        """Whether weights decay by event time."""
        return self.half_life is not None or self.heads is not None

    @property
    def algebra(self) -> Algebra:
        """A group by time; by arrival ordered."""
        return "group" if self.by_time else "ordered"

    @cached_property
    def half_lives(self) -> Floats:
        """Of each head, in seconds; by arrival in events."""
        if self.heads is not None:
            return np.array(self.heads, float)
        if self.half_life is not None:
            return np.array([self.half_life], float)
        events = -math.log(2) / math.log1p(-self._alpha) if self._alpha < 1 else 0.0
        return np.array([max(events, _SHORTEST)])

    @property
    def _alpha(self) -> float:
        return self.alpha if self.alpha is not None else 2.0 / (cast(float, self.span) + 1.0)

    def shared(self, shape: Shape) -> tuple[Field, ...]:
        """The count, and where the first event weighs more than others, that event."""
        return Field("count", dtype="<i8"), *(() if self.adjust else (Field("first", shape),))

    def arrive_at_once(self, state: State, batch: Batch, before: Ints) -> tuple[Floats, Floats, Floats]:
        """As :meth:`arrive`, for who needs to know only what there is after all events.

        Returns what they leave together of the weights before them, (G, H); the weight of each in the end, (N, H), in
        units of its key; and those, (G, H).
        """
        if self.by_time:
            return advance_at_once(batch.groups, state["epoch"], before, batch.time, self.half_lives)
        self._keep_first(state, batch, before)
        newest, unit = epochs((before + batch.groups.count).astype(float), self.half_lives)
        left = halved(np.where(before[:, None] > 0, newest - state["epoch"], 0))
        state["epoch"] = newest
        fading = np.exp2(-np.arange(batch.groups.longest)[:, None] / self.half_lives)
        return left, fading.take(batch.groups.age, axis=0), unit

    def clock(self, state: State, batch: Batch, before: Ints) -> Floats:
        """The time of each event, or its number."""
        if self.by_time:
            return super().clock(state, batch, before)
        self._keep_first(state, batch, before)
        return batch.groups.ordinals(before).astype(float)

    def _keep_first(self, state: State, batch: Batch, before: Ints) -> None:
        """Keep a key's first event where it weighs more."""
        if not self.adjust:
            fresh = before == 0
            state["first"][fresh] = batch.columns["value"][batch.groups.start[fresh]]

    def surplus(self, count: Ints) -> tuple[Floats, Floats]:
        """What the first of ``count`` (n,) events weighs, and what it weighs beyond that without ``adjust``: (n, 1).

        Its weight is then 1 where those of later ones are alpha: more by (1 - alpha) / alpha.
        """
        newest = epochs(count.astype(float), self.half_lives)[1]
        weight = np.where(count[:, None] > 0, newest * np.exp2((1 - count[:, None]) / self.half_lives), 0.0)
        return weight, weight * ((1.0 - self._alpha) / self._alpha)

    def meet(self, state: State, other: State) -> tuple[Floats, Floats]:
        """By arrival the other one's events are counted on from the state's own."""
        if self.by_time:
            return super().meet(state, other)
        own, weight = epochs(state["count"].astype(float), self.half_lives)
        both, _ = epochs((state["count"] + other["count"]).astype(float), self.half_lives)
        kept, taken = halved(both - state["epoch"]), np.ldexp(weight, own + other["epoch"] - both)
        state["epoch"] = both
        return kept, taken

    def join(self, state: State, other: State) -> None:
        """Merge what the heads share, when the rest is merged."""
        if not self.adjust:
            fresh = state["count"] == 0
            state["first"][fresh] = other["first"][fresh]
        state["count"] += other["count"]


def spread(weights: npt.NDArray[Any], rows: Floats) -> npt.NDArray[Any]:
    """Weights (n, H) in a shape that goes with rows (n, H, ...)."""
    return weights.reshape(weights.shape + (1,) * (rows.ndim - 2))


def scaled(weights: Floats, rows: Floats) -> Floats:
    """Rows (n, H, ...), or (n, 1, ...), each times its weight (n, H)."""
    product: Floats = spread(weights, rows) * rows
    return product


def ratio(sums: Floats, weights: Floats) -> Floats:
    """Sums (n, H, ...) by their weights (n, H); undefined where those are 0."""
    quotient: Floats = sums / spread(np.where(weights == 0, np.nan, weights), sums)
    return quotient


def grown(kept: Floats, high: Floats, low: Floats, more: Floats) -> tuple[Floats, Floats]:
    """The compensated sums ``high + low`` (n, H, ...), of which so much is kept (n, H), with ``more`` added."""
    total, error = two_sum(scaled(kept, high), more)
    return total, scaled(kept, low) + error
