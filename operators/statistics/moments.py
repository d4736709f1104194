"""What variances and covariances have in common: sums of inputs and of their products in which nothing cancels.

Sums of x and x^2 lose every digit where the mean is large beside the spread. So the first input x_0 of a key is taken
from all of them, exactly, and the sums S_i of y_i = x_i - x_0 and S_ij of y_i y_j are kept to 32 digits. As x_0 is one
of the inputs, S_ij - S_i S_j / n loses at most a factor of n of those: at any level the result keeps all of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.arithmetic import flat, plain
from operators.columns.double_double import DoubleDouble
from operators.columns.grouping import Floats, Ints
from operators.columns.scan import running_sums
from operators.operator import Algebra, Batch, Field, Layout, Operator, Shape, State
from operators.options import whole

_NOISE = 2.0**-88
"""Where so much cancels, only roundings are left: the inputs are alike, and unlike an x_0 that was taken back."""

Index = slice | Ints
Pairs = tuple[Index, Index]
"""The inputs i and the inputs j of the pairs that are kept, as indices of their places side by side."""

Shapes = tuple[Shape, ...]
"""Those of the roles' inputs."""


@dataclass(frozen=True, kw_only=True)
class Moments(Operator):
    """The mean of each of an event's inputs, all roles' numbers side by side, and how some pairs of them vary together.

    References: Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, The American Statistician 37 (1983);
    Schubert, Gertz, Numerically Stable Parallel Computation of (Co-)Variance, SSDBM 2018.
    """

    min_count: int = 1

    measure: ClassVar[str]
    """What :meth:`export` calls the result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("min_count", self.min_count, "of events")

    @abstractmethod
    def pairs(self, shapes: Shapes) -> Pairs:
        """Which pairs are kept."""

    @abstractmethod
    def result(self, spread: Floats, count: Ints, shapes: Shapes) -> Floats:
        """The result (N, ...) of the sums of (x_i - mean_i) (x_j - mean_j) over ``count`` events, (pairs, N)."""

    @property
    def algebra(self) -> Algebra:
        """A group: sums add up, once they are of the same x_0."""
        return "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, x_0, and the compensated sums of y and of its products."""
        own = tuple(shapes[role] for role in self.inputs())
        y = np.zeros(sum(map(size, own)))
        sums = (len(y) + len(y[self.pairs(own)[0]]),)
        first = [Field(_first(role), shapes[role]) for role in self.inputs()]
        return Layout((Field("count", dtype="<i8"), *first, Field("sums", sums), Field("lost", sums)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Add the batch to the sums; the result after each event."""
        before = state["count"].copy()
        sums = self.add(state, batch, each=each)
        return None if sums is None else self._result(state, sums, batch.groups.ordinals(before))

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The latest result."""
        return self._result(state, sums_of(state), state["count"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """The count, the mean of each input, and the result: ``{"count": n, "mean": m, ...}``."""
        shapes = self._shapes(state)
        mean, _ = self.central(sums_of(state), state["count"], shapes)
        offsets = np.split(mean.rounded, np.cumsum([size(shape) for shape in shapes])[:-1])
        parts = {"count": state["count"].tolist()}
        for role, offset in zip(self.inputs(), offsets, strict=True):
            first = state[_first(role)]
            parts["mean" if role == "value" else f"{role}_mean"] = plain(first + offset.T.reshape(first.shape))
        parts[self.measure] = plain(self.read(state))
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Add the sums of the other, once they are of the same x_0."""
        self.adopt(state, other)
        total = sums_of(state) + self.moved(state, other, sums_of(other), other["count"])
        state["sums"], state["lost"] = total.high.T, total.low.T
        state["count"] += other["count"]

    def retract(self, state: State, batch: Batch) -> None:
        """Take the events out of the sums."""
        high, low = self._terms(state, batch)
        running_sums(batch.groups, state["sums"], state["lost"], -high, -low, each=False)
        state["count"] -= batch.groups.count

    def add(self, state: State, batch: Batch, *, each: bool) -> DoubleDouble | None:
        """Count the batch and add it to the sums, the first input of a new key being its x_0; the sums after each."""
        new = state["count"] == 0
        for role in self.inputs():
            state[_first(role)][new] = batch.columns[role][batch.groups.start[new]]
        state["count"] += batch.groups.count
        terms = self._terms(state, batch)
        running = running_sums(batch.groups, state["sums"], state["lost"], *terms, each=each)
        return None if running is None else _rows(*running)

    def adopt(self, state: State, other: State) -> None:
        """Keys without events take the other's x_0."""
        new = state["count"] == 0
        for role in self.inputs():
            state[_first(role)][new] = other[_first(role)][new]

    def moved(self, state: State, other: State, sums: DoubleDouble, count: Ints) -> DoubleDouble:
        """The other's sums of ``count`` (G,) events as they are with the x_0 of ``state``."""
        shapes = self._shapes(state)
        left, right = self.pairs(shapes)
        shift = DoubleDouble.sum(self._inputs(other.fields, _first), -self._inputs(state.fields, _first))
        y, products = _parts(sums, shapes)
        moved = y + shift.times(count.astype(float))
        return moved.above(products + shift[left] * y[right] + shift[right] * moved[left])

    def central(self, sums: DoubleDouble, count: Ints, shapes: Shapes) -> tuple[DoubleDouble, Floats]:
        """Of sums over ``count`` events the means of y, (m, N), and the sums of (x_i - mean_i) (x_j - mean_j)."""
        left, right = self.pairs(shapes)
        y, products = _parts(sums, shapes)
        mean = y.over(np.where(count > 0, count, np.nan))
        spread = (products - y[left] * mean[right]).rounded
        spread[(np.abs(spread) <= _NOISE * np.abs(products.high)) | (count == 1)] = 0.0
        return mean, spread

    def _result(self, state: State, sums: DoubleDouble, count: Ints) -> Floats:
        shapes = self._shapes(state)
        result = self.result(self.central(sums, count, shapes)[1], count, shapes)
        result[count < self.min_count] = np.nan
        return result

    def _terms(self, state: State, batch: Batch) -> tuple[Floats, Floats]:
        """What each event adds to the sums, (N, ...): its y and their products, with what is lost of them."""
        first = self._inputs(state.fields, _first)
        y = DoubleDouble.sum(self._inputs(batch.columns, str), -np.repeat(first, batch.groups.count, axis=1))
        left, right = self.pairs(self._shapes(state))
        terms = y.above(y[left] * y[right])
        return np.ascontiguousarray(terms.high.T), np.ascontiguousarray(terms.low.T)

    def _inputs(self, columns: Mapping[str, Floats], name: Callable[[str], str]) -> Floats:
        """The numbers of all roles (N, ...) as rows, (m, N); ``name`` makes of a role the name of its column."""
        return np.concatenate([flat(columns[name(role)]).T for role in self.inputs()])

    def _shapes(self, state: State) -> Shapes:
        return tuple(state[_first(role)].shape[1:] for role in self.inputs())


def sums_of(state: State, prefix: str = "") -> DoubleDouble:
    """The sums of y and of their products, (m + pairs, G)."""
    return _rows(state[prefix + "sums"], state[prefix + "lost"])


def size(shape: Shape) -> int:
    """How many numbers an input has."""
    return int(np.prod(shape, dtype=int))


def _first(role: str) -> str:
    """The field of a role's x_0."""
    return f"first_{role}"


def _rows(high: Floats, low: Floats) -> DoubleDouble:
    """Sums (N, ...) one below the other, where each is in one piece of memory."""
    return DoubleDouble.sum(np.ascontiguousarray(high.T), np.ascontiguousarray(low.T))


def _parts(sums: DoubleDouble, shapes: Shapes) -> tuple[DoubleDouble, DoubleDouble]:
    """The sums of y and those of the products."""
    inputs = sum(map(size, shapes))
    return sums[:inputs], sums[inputs:]
