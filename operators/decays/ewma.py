"""The exponentially weighted mean of a key's events, by their number or by their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operators.columns.arithmetic import plain
from operators.columns.grouping import Floats, Ints
from operators.columns.parallel_scan import Parts, scan
from operators.columns.scan import add_sums, running_sums
from operators.decays.decaying import ExponentiallyWeighted, grown, ratio, scaled, spread
from operators.operator import Batch, Field, FieldSpec, Layout, Shape, State


@dataclass(frozen=True, kw_only=True)
class Ewma(ExponentiallyWeighted):
    """The exponentially weighted moving average of a number, or of a vector element by element.

        m_i = sum_j w_j x_j / sum_j w_j,  w_j = (1 - alpha)^(i - j)  or  w_j = 2^(-(t - t_j) / half_life)

    Parameters: ``value``, the field, and exactly one of ``alpha``, in (0, 1]; ``span``, at least 1, for alpha =
    2 / (span + 1); ``half_life``, a duration of event time; ``heads``, a list of them: the read-out is then a mean for
    each. With ``adjust = false`` the first event is where it starts, m_i = m_{i-1} + alpha (x_i - m_{i-1}); for
    ``alpha`` and ``span`` only.

    By ``alpha`` or ``span`` events weigh by their order of arrival. By ``half_life`` an event that comes late has just
    the weight that its time gives it: in whatever order events arrive, the state is the same (forward decay).
    State: the count, the newest epoch and the compensated sums of w x and w, 4 + 2d numbers; of H heads 1 + H (3 + 2d);
    with ``adjust = false`` also the first event. An epoch is one half-life, of time or of events: within it weights are
    2^(t / half_life), and from one to the next the sums are halved, which is exact. So nothing drifts, however long it
    runs, and a spike is forgotten as it decays.
    References: Hunter 1986; Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009.
    """

    value: FieldSpec

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """What heads share, and of each of them the epoch and the compensated sums of weights and weighted inputs."""
        shape = shapes["value"]
        sums = (len(self.half_lives), *shape)
        return Layout((*self.shared(shape), *self.weights(), Field("sum", sums), Field("lost", sums)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Fold the batch; the mean after each event."""
        before = state["count"].copy()
        state["count"] += batch.groups.count
        after = self._add(state, batch, before, each=each)
        if after is None:
            return None
        first = None if self.adjust else state["first"][batch.groups.segment]
        return self._mean(*after, batch.groups.ordinals(before), first)

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The mean."""
        first = None if self.adjust else state["first"]
        weights, sums = state["weight"] + state["weight_lost"], state["sum"] + state["lost"]
        return self._mean(weights, sums, state["count"], first)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "mean": m}``; by time also the sum of weights and the Unix time of a weight of 1."""
        columns: dict[str, list[object]] = {"count": state["count"].tolist(), "mean": plain(self.read(state))}
        if self.by_time:
            columns["weight"] = self.headed(state["weight"] + state["weight_lost"]).tolist()
            columns["time"] = self.headed(state["epoch"] * self.half_lives).tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Add the sums at the later epoch; by arrival those of events that came after."""
        kept, taken = self.meet(state, other)
        for high, low in _SUMS:
            state[high], state[low] = scaled(kept, state[high]), scaled(kept, state[low])
            add_sums(state[high], state[low], scaled(taken, other[high]), scaled(taken, other[low]))
        self.join(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """By time: take the events out of the sums."""
        if not self.by_time:
            super().retract(state, batch)
        before = state["count"].copy()
        state["count"] -= batch.groups.count
        self._add(state, batch, before, each=False, sign=-1.0)

    def _add(
        self, state: State, batch: Batch, before: Ints, *, each: bool, sign: float = 1.0
    ) -> tuple[Floats, Floats] | None:
        """Add to the sums of weights and of weighted inputs, or without ``each`` take them out by ``sign = -1``.

        With ``each``, returns both after each event.
        """
        groups, value = batch.groups, batch.columns["value"][:, None]
        if not each:
            left, weight, unit = self.arrive_at_once(state, batch, before)
            for (high, low), terms, power in zip(_SUMS, (weight, scaled(weight, value)), (_WEIGHT, None), strict=True):
                state[high], state[low] = scaled(left, state[high]), scaled(left, state[low])
                units = spread(sign * unit, terms)
                running_sums(groups, state[high], state[low], terms, each=False, unit=units, power=power)
            return None
        its_left, weight = self.arrive(state, batch, before)
        left, *parts = scan(groups, _followed, (its_left, weight, scaled(weight, value)), each=True)
        result = []
        for (high, low), part in zip(_SUMS, parts, strict=True):
            result.append(scaled(left, (state[high] + state[low]).take(groups.segment, axis=0)) + part)
            last = groups.last
            state[high], state[low] = grown(left[last], state[high], state[low], part[last])
        return result[0], result[1]

    def _mean(self, weights: Floats, sums: Floats, count: Ints, first: Floats | None) -> Floats:
        """The mean of ``count`` (n,) events with these sums; ``first`` is where it starts, if it is not adjusted."""
        if first is not None:
            _, more = self.surplus(count)
            weights, sums = weights + more, sums + scaled(more, first[:, None])
        return self.headed(ratio(sums, weights))


_SUMS = (("weight", "weight_lost"), ("sum", "lost"))

_WEIGHT = 1
"""No event weighs more than this power of 2."""


def _followed(older: Parts, newer: Parts) -> Parts:
    """What is left of all before, and sums to which what is left of older ones is added."""
    left = newer[0]
    return older[0] * left, *(scaled(left, old) + new for old, new in zip(older[1:], newer[1:], strict=True))
