"""The exponentially weighted variance of a key's events, by their number or by their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.arithmetic import choose, plain
from operators.columns.grouping import Floats, Ints
from operators.columns.parallel_scan import Parts, scan
from operators.columns.scan import two_sum
from operators.decays.decaying import ExponentiallyWeighted, grown, ratio, scaled, spread
from operators.operator import Batch, Field, FieldSpec, Layout, Shape, State
from operators.options import flag


@dataclass(frozen=True, kw_only=True)
class Ewvar(ExponentiallyWeighted):
    """The exponentially weighted variance of a number, or of a vector element by element.

        v = sum_j w_j (x_j - m)^2 / sum_j w_j * c,  c = W^2 / (W^2 - sum_j w_j^2),  W = sum_j w_j

    m is the mean of ``ewma`` with the same options, and w its weights.
    Parameters: ``value``, the field; exactly one of ``alpha``, ``span``, ``half_life`` and ``heads``, and ``adjust``,
    as in ``ewma``; ``bias``. As in pandas the factor c makes up for a sample varying less about its own mean, so one
    event has no variance; with ``bias = true`` c is 1, and one event has the variance 0.
    State: the count, the newest epoch, the compensated sums W, W^2 - sum w^2 and sum w (x - m)^2, and the compensated
    mean, 6 + 4d numbers; of H heads 1 + H (5 + 4d); with ``adjust = false`` also the first event.
    All that is added is positive, so no digit cancels, however far from 0 the mean is, or after a spike. Once W^2 -
    sum w^2 is below 1e-60 W^2, which takes a gap of 200 half-lives, the newest event is as good as the only one.
    References: West, Updating mean and variance estimates, CACM 22 (1979); Chan, Golub, LeVeque 1983; Cormode et al.:
    Forward Decay, ICDE 2009.
    """

    value: FieldSpec
    bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("bias", self.bias)

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """What heads share, and of each of them the epoch, the mean, and the compensated sums."""
        shape = shapes["value"]
        heads = (len(self.half_lives),)
        pairs = (Field("pairs", heads), Field("pairs_lost", heads))
        moments = (Field(name, (*heads, *shape)) for name in ("mean", "mean_lost", "square", "square_lost"))
        return Layout((*self.shared(shape), *self.weights(), *pairs, *moments))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Fold the batch; the variance after each event."""
        groups = batch.groups
        before = state["count"].copy()
        state["count"] += groups.count
        left, *more = scan(groups, _followed, self._alone(state, batch, before), each=each)
        key, newest = (groups.segment, groups.last) if each else (slice(None), slice(None))
        after = _joined(left, {name: state[name][key] for name in _OWN}, more)
        for name in _OWN:
            state[name] = after[name][newest]
        if not each:
            return None
        return self._variance(after, groups.ordinals(before), None if self.adjust else state["first"][key])

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The variance."""
        return self._variance(state.fields, state["count"], None if self.adjust else state["first"])

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "mean": m, "variance": v}``."""
        mean = np.where(spread(state["weight"] > 0, state["mean"]), state["mean"] + state["mean_lost"], np.nan)
        columns = (state["count"], self.headed(mean), self.read(state))
        rows = zip(*map(plain, columns), strict=True)
        return [dict(zip(("count", "mean", "variance"), row, strict=True)) for row in rows]

    def merge(self, state: State, other: State) -> None:
        """Join the moments at the later epoch; by arrival those of events that came after."""
        kept, taken = self.meet(state, other)
        weight, pairs, square = (other[name] + other[f"{name}_lost"] for name in _SUMS)
        more = (taken * weight, taken * taken * pairs, other["mean"], other["mean_lost"], scaled(taken, square))
        for name, array in _joined(kept, state.fields, more).items():
            state[name] = array
        self.join(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """By time: take the events out of the moments."""
        if not self.by_time:
            super().retract(state, batch)
        before = state["count"].copy()
        state["count"] -= batch.groups.count
        _, *less = scan(batch.groups, _followed, self._alone(state, batch, before), each=False)
        least = {"pairs": 1, "pairs_lost": 1, "square": 1, "square_lost": 1}
        for name, array in _parted(state.fields, less).items():
            state[name] = choose(state["count"] > least.get(name, 0), array, 0.0)

    def _alone(self, state: State, batch: Batch, before: Ints) -> Parts:
        """Each event by itself: what it leaves of those before it, and its moments."""
        left, weight = self.arrive(state, batch, before)
        mean = np.repeat(batch.columns["value"][:, None], weight.shape[1], axis=1)
        return left, weight, np.zeros_like(weight), mean, np.zeros_like(mean), np.zeros_like(mean)

    def _variance(self, moments: Mapping[str, Floats], count: Ints, first: Floats | None) -> Floats:
        """The variance of ``count`` (n,) events with these moments; ``first`` is the first of them if not adjusted."""
        weight, pairs, square = (moments[name] + moments[f"{name}_lost"] for name in _SUMS)
        if first is not None:
            its, more = self.surplus(count)
            pairs = pairs + 2.0 * more * (weight - its)
            square = square + _between(weight, _mean(moments), more, (first[:, None], 0.0))[3]
            weight = weight + more
        if self.bias:
            return self.headed(ratio(square, weight))
        known = np.where(pairs < LEAST_PAIRS * weight * weight, 0.0, pairs)
        return self.headed(scaled(weight, ratio(square, known)))


LEAST_PAIRS = 1e-60
"""Of the squared sum of weights: with less, one event is all that counts. It keeps far from where digits are lost."""

_SUMS = ("weight", "pairs", "square")
_OWN = (*_SUMS, *(f"{name}_lost" for name in _SUMS), "mean", "mean_lost")


def _between(
    weight: Floats, mean: tuple[Floats, Floats], its_weight: Floats, its_mean: tuple[Floats, Floats | float]
) -> tuple[Floats, Floats, Floats, Floats]:
    """What two groups of events have together beyond what each has: 2 w w', their mean, and w w' (m - m')^2 / (w + w').

    The mean is moved from that of the group that weighs more, so a far mean that has faded leaves no error behind.
    """
    (high, low), (its_high, its_low) = mean, its_mean
    total = weight + its_weight
    total = np.where(total > 0, total, 1.0)
    share, its_share = weight / total, its_weight / total
    step, error = two_sum(its_high, -high)
    gap = step + (error + (its_low - low))
    near = share >= its_share
    wide = spread(near, gap)
    both, error = two_sum(np.where(wide, high, its_high), scaled(np.where(near, its_share, -share), gap))
    lost = np.where(wide, low, its_low) + error
    return 2.0 * weight * its_weight, both, lost, scaled(weight * its_share, gap) * gap


def _mean(moments: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    return moments["mean"], moments["mean_lost"]


def _followed(older: Parts, newer: Parts) -> Parts:
    """What is left of all before, and the moments of both."""
    left, weight, pairs, high, low, square = newer
    kept, old_weight, old_pairs, old_high, old_low, old_square = older
    old_weight = left * old_weight
    more_pairs, mean, lost, more_square = _between(old_weight, (old_high, old_low), weight, (high, low))
    pairs = left * left * old_pairs + pairs + more_pairs
    return kept * left, old_weight + weight, pairs, mean, lost, scaled(left, old_square) + square + more_square


def _joined(kept: Floats, moments: Mapping[str, Floats], more: Sequence[Floats]) -> dict[str, Floats]:
    """The moments of which so much is kept, with those of more events: compensated."""
    weight, pairs, high, low, square = more
    old = kept * (moments["weight"] + moments["weight_lost"])
    more_pairs, mean, lost, more_square = _between(old, _mean(moments), weight, (high, low))
    result = {"mean": mean, "mean_lost": lost}
    grows = (
        ("weight", kept, weight),
        ("pairs", kept * kept, pairs + more_pairs),
        ("square", kept, square + more_square),
    )
    for name, part, terms in grows:
        result[name], result[f"{name}_lost"] = grown(part, moments[name], moments[f"{name}_lost"], terms)
    return result


def _parted(moments: Mapping[str, Floats], less: Sequence[Floats]) -> dict[str, Floats]:
    """The moments without those of some of the events: :func:`_joined` undone."""
    its_weight, its_pairs, its_high, its_low, its_square = less
    one = np.ones_like(its_weight)
    result = {}
    result["weight"], result["weight_lost"] = grown(one, moments["weight"], moments["weight_lost"], -its_weight)
    weight = result["weight"] + result["weight_lost"]
    total = weight + its_weight
    step, error = two_sum(its_high, -moments["mean"])
    gap = step + (error + (its_low - moments["mean_lost"]))
    share = np.where(weight > 0, its_weight / np.where(weight > 0, weight, 1.0), 0.0)
    result["mean"], error = two_sum(moments["mean"], -scaled(share, gap))
    result["mean_lost"] = moments["mean_lost"] + error
    pairs, square = its_pairs + 2.0 * weight * its_weight, its_square + scaled(share * total, gap) * gap
    for name, terms in (("pairs", pairs), ("square", square)):
        high, low = grown(one, moments[name], moments[f"{name}_lost"], -terms)
        result[name], result[f"{name}_lost"] = (np.where(high + low > 0, part, 0.0) for part in (high, low))
    return result
