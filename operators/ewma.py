"""The exponentially weighted mean of a key's events, by their number or by their time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from operators.arithmetic import alike, divide, times
from operators.duration import Duration, length
from operators.grouping import Block, Floats, Ints
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Shape, State
from operators.options import flag, number
from operators.scan import decayed_sums, running_max, two_sum

_ALPHA = "a number above 0, at most 1"
_SPAN = "a number of at least 1"
_HALVES = np.ldexp(1.0, -np.arange(1076))
"""1 halved so many times, exactly; in the end it is 0."""


@dataclass(frozen=True, kw_only=True)
class Ewma(Operator):
    """The exponentially weighted moving average of a number, or of a vector element by element.

        m_i = sum_j w_j x_j / sum_j w_j,  w_j = (1 - alpha)^(i - j)  or  w_j = 2^(-(t - t_j) / half_life)

    Parameters: ``value``, the field, and exactly one of ``alpha``, in (0, 1]; ``span``, at least 1, for alpha =
    2 / (span + 1); ``half_life``, a duration of event time. With ``adjust = false`` the first event is where it starts,
    m_i = m_{i-1} + alpha (x_i - m_{i-1}); for ``alpha`` and ``span`` only.

    By ``alpha`` or ``span`` events weigh by their order of arrival. State: the count and the mean as a compensated sum
    of its changes, 1 + 2d numbers; with ``adjust = false`` also the first event, d more.

    By ``half_life`` an event that comes late has just the weight that its time gives it: in whatever order events
    arrive, the state is the same (forward decay). State: the count, the newest epoch and the compensated sums of
    w x and w, 4 + 2d numbers. An epoch is one half-life: within it weights are 2^(t / half_life), and from one to the
    next the sums are halved, which is exact. So nothing drifts, however long it runs.
    References: Hunter 1986; Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009.
    """

    value: FieldSpec
    alpha: float | None = None
    half_life: Duration | None = None
    span: float | None = None
    adjust: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("adjust", self.adjust)
        given = [name for name in ("alpha", "half_life", "span") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            message = f"found {found}, expected exactly one of alpha, half_life, span"
            raise OperatorError(given[-1] if given else "alpha", message)
        if self.alpha is not None and not 0 < number("alpha", self.alpha, _ALPHA) <= 1:
            raise OperatorError("alpha", f"found {self.alpha}, expected {_ALPHA}")
        if self.span is not None and number("span", self.span, _SPAN) < 1:
            raise OperatorError("span", f"found {self.span}, expected {_SPAN}")
        if self.half_life is not None:
            object.__setattr__(self, "half_life", length("half_life", self.half_life))
            if not self.adjust:
                raise OperatorError("adjust", "found false beside half_life, expected it beside alpha or span")

    @property
    def algebra(self) -> Algebra:
        """A group by time; by arrival ordered."""
        return "ordered" if self.half_life is None else "group"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count and the mean; by time, the count and two sums instead."""
        shape = shapes["value"]
        count, lost = Field("count", dtype="<i8"), Field("lost", shape)
        if self.half_life is None:
            return Layout((count, Field("mean", shape), lost, *(() if self.adjust else (Field("first", shape),))))
        weights = (Field("epoch", dtype="<i8"), Field("weight"), Field("weight_lost"))
        return Layout((count, Field("sum", shape), lost, *weights))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Fold the batch; the mean after each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        by = self._fold_by_arrival if self.half_life is None else self._fold_by_time
        means = by(state, batch, before, each=each)
        return means if each else None

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The mean."""
        if self.half_life is None:
            return divide(state["mean"] + state["lost"], np.minimum(state["count"], 1))
        return divide(state["sum"] + state["lost"], state["weight"] + state["weight_lost"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "mean": m}``; by time also the sum of weights and the Unix time of a weight of 1."""
        columns: dict[str, list[object]] = {"count": state["count"].tolist(), "mean": self.read(state).tolist()}
        if self.half_life is not None:
            columns["weight"] = (state["weight"] + state["weight_lost"]).tolist()
            columns["time"] = (state["epoch"] * cast(float, self.half_life)).tolist()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [row if row["count"] else {**row, "mean": None} for row in rows]

    def merge(self, state: State, other: State) -> None:
        """By time, add the sums at the later epoch; by arrival, let the other mean follow this one."""
        if self.half_life is None:
            self._append(state, other)
        else:
            _add_sums(state, other)
        state["count"] += other["count"]

    def retract(self, state: State, batch: Batch) -> None:
        """By time: take the events out of the sums."""
        if self.half_life is None:
            super().retract(state, batch)
        before = state["count"].copy()
        state["count"] -= batch.groups.count
        self._fold_by_time(state, batch, before, each=False, sign=-1.0)

    @property
    def _rate(self) -> float:
        """The logarithm of what an event leaves of those before it."""
        alpha = self._alpha
        return math.log1p(-alpha) if alpha < 1 else -math.inf

    @property
    def _alpha(self) -> float:
        return self.alpha if self.alpha is not None else 2.0 / (cast(float, self.span) + 1.0)

    def _fold_by_arrival(self, state: State, batch: Batch, before: Ints, *, each: bool) -> Floats:
        """Move the mean; returns it after each event, or after each key's last.

        m = kept m_0 + new r, where r is the mean of the batch alone. While the old mean has most of the weight only its
        change is rounded, so that it stays exact over any number of batches; after that only what is left of it is, so
        that a spike is forgotten as it decays.
        """
        groups, column = batch.groups, batch.columns["value"]
        events, newest = (slice(None), groups.last) if each else (groups.last, slice(None))
        rate, terms = self._rate, self._alpha * column
        key = groups.segment[events]
        since, first = groups.position[events] + 1, before[key] == 0
        kept, new = np.where(first, 0.0, np.exp(rate * since)), -np.expm1(rate * since)
        sums_to = new
        if self.adjust:
            total = -np.expm1(rate * (before[key] + since))
            kept, new = kept * np.where(first, 0.0, -np.expm1(rate * np.maximum(before[key], 1))) / total, new / total
        else:
            fresh = groups.start[before == 0]
            terms[fresh] = column[fresh]
            state["first"] = np.where(alike(before == 0, state["first"]), column[groups.start], state["first"])
            new = sums_to = np.where(first, 1.0, new)
        recent = decayed_sums(groups, lambda _, step: math.exp(rate * step), terms)[events]
        mean, lost = _mixed(state["mean"][key], state["lost"][key], kept, divide(recent, sums_to), new)
        state["mean"], state["lost"] = mean[newest], lost[newest]
        return mean + lost

    def _append(self, state: State, other: State) -> None:
        """Move the mean over the other one's events, as in a fold: m = kept m_0 + new r."""
        some, no_more = np.minimum(state["count"], 1), other["count"] == 0
        kept = some * np.exp(self._rate * np.maximum(other["count"], 1))
        new, recent = 1.0 - kept, other["mean"] + other["lost"]
        if self.adjust:
            old, more = (-np.expm1(self._rate * np.maximum(part["count"], 1)) for part in (state, other))
            total = -np.expm1(self._rate * np.maximum(state["count"] + other["count"], 1))
            kept, new = kept * old / total, more / total
        else:
            # The other one starts at its first event, which has only the weight alpha if there were others before.
            recent = divide(recent - times(kept, other["first"]), new)
            state["first"] = np.where(alike(some > 0, recent), state["first"], other["first"])
        mean, lost = _mixed(state["mean"], state["lost"], kept, recent, new)
        for name, part in (("mean", mean), ("lost", lost)):
            state[name] = np.where(alike(no_more, part), state[name], part)

    def _fold_by_time(self, state: State, batch: Batch, before: Ints, *, each: bool, sign: float = 1.0) -> Floats:
        """Add to the sums of weights and weighted inputs; returns their ratio after each event, or each key's last.

        With ``sign = -1`` events are taken out instead.

        The remainder of a division is exact, so the weight 2^(t / half_life) = 2^epoch 2^(rest / half_life) keeps all
        its digits however large t is.
        """
        groups, column = batch.groups, batch.columns["value"]
        events, newest = (slice(None), groups.last) if each else (groups.last, slice(None))
        half_life = cast(float, self.half_life)
        rest = np.fmod(batch.time, half_life)
        epoch = np.rint((batch.time - rest) / half_life).astype(np.int64)
        old = np.where(before > 0, state["epoch"], epoch[groups.start])
        latest = np.maximum(running_max(groups, epoch), old[groups.segment])
        weight = sign * np.exp2(rest / half_life) * _halved(latest - epoch)

        def decay(block: Block, step: int) -> Floats | float:
            clock = latest[block.events]
            ticks = clock[step:] - clock[:-step]
            return _halved(np.maximum(ticks, 0)) if ticks.any() else 1.0

        new = decayed_sums(groups, decay, np.column_stack([times(weight, column), weight]))[events]
        sums, weights = new[:, :-1].reshape(len(new), *column.shape[1:]), new[:, -1]
        key = groups.segment[events]
        kept = _halved(latest[events] - old[key])
        totals = []
        for high, low, part in (("sum", "lost", sums), ("weight", "weight_lost", weights)):
            total, error = two_sum(times(kept, state[high][key]), part)
            lost = times(kept, state[low][key]) + error
            state[high], state[low] = total[newest], lost[newest]
            totals.append(total + lost)
        state["epoch"] = latest[groups.last]
        return divide(totals[0], totals[1])


def _add_sums(state: State, other: State) -> None:
    """Add the sums of other events, all of them as of the later epoch."""
    epoch = np.where(state["count"] > 0, state["epoch"], other["epoch"])
    its_epoch = np.where(other["count"] > 0, other["epoch"], epoch)
    latest = np.maximum(epoch, its_epoch)
    kept, taken = _halved(latest - epoch), _halved(latest - its_epoch)
    for high, low in (("sum", "lost"), ("weight", "weight_lost")):
        total, error = two_sum(times(kept, state[high]), times(taken, other[high]))
        state[high], state[low] = total, times(kept, state[low]) + times(taken, other[low]) + error
    state["epoch"] = latest


def _mixed(high: Floats, low: Floats, kept: Floats, recent: Floats, new: Floats) -> tuple[Floats, Floats]:
    """The compensated mean ``kept (high + low) + new recent``, where ``kept + new`` is 1."""
    near = alike(new, recent) < 0.5
    part = np.where(near, high, times(kept, high))
    step = np.where(near, times(new, (recent - high) - low), times(new, recent) + times(kept, low))
    mean, error = two_sum(part, step)
    return two_sum(mean, np.where(near, low, 0.0) + error)


def _halved(ticks: Ints) -> Floats:
    """What is left of 1 after so many half-lives, which may not be negative."""
    return _HALVES[np.minimum(ticks, len(_HALVES) - 1)]
