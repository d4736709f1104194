"""Ridge regression: the best linear prediction of the value from the key over all events, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.epochs import advance, align, epochs
from operators.columns.grouping import Floats
from operators.columns.newest_time import pass_time
from operators.columns.scan import add_sums, two_sum
from operators.duration import Duration, length
from operators.matrices.feature_maps import FEATURE_MAPS, FeatureMapName
from operators.matrices.least_squares import grams, predictions, solve
from operators.matrices.pair_runs import Run
from operators.operator import Algebra, Batch, Field, Layout, OperatorError, Readout, Shape, State
from operators.options import number, one_of
from operators.pairs.key_value import Attention

_LENGTH = 32
"""Events of a key taken at once: their L x L products must stay cheaper than solving."""

_CACHED = 1 << 19
"""Numbers of sums taken at once: few enough to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Ridge(Attention):
    """Least squares with a penalty on large coefficients, over all events or with weights that halve in time.

        G = sum_j w_j k'_j^T k'_j,  R = sum_j w_j k'_j^T v_j,  o = q' (G + l2 I)^-1 R,  leverage = q' (G + l2 I)^-1 q'^T
        w_j = 1  or  w_j = 2^(-(t - t_j) / half_life),  t the newest time so far,  k' = phi(k)

    The leverage is the variance of the prediction in units of that of the values' noise: near 0 for a query like many
    keys, |q'|^2 / l2 where nothing is known.

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``l2``, above 0, what a squared coefficient
    costs; ``half_life``, a duration of event time; ``feature_map``, phi; ``readout``, after the event, or before it:
    the prediction, its error and its leverage. An event that comes late has just the weight that its time gives it.
    State: the count, the compensated sums G and R and the newest query, 1 + 2 d_k' (d_k' + d_v) + d_k numbers; with
    ``half_life`` the newest epoch and time, 2 more; with ``readout = "before"`` 2 + 2 d_v more.
    No inverse is ever kept, so nothing drifts. What is read is solved for, with G scaled to a diagonal of 1, so that
    rounding doesn't depend on the units of the keys' numbers; its relative error is about the condition number times
    1e-16. Where l2 is lost beside G, what rounding may have taken is added in its place.
    References: Hoerl and Kennard 1970; Plackett 1950; von Oswald et al., MesaNet, arXiv 2506.05233.
    """

    l2: float
    half_life: Duration | None = None
    feature_map: FeatureMapName = "identity"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("feature_map", self.feature_map, tuple(FEATURE_MAPS))
        if number("l2", self.l2, "a number above 0") <= 0:
            raise OperatorError("l2", f"found {self.l2}, expected a number above 0")
        if self.half_life is not None:
            object.__setattr__(self, "half_life", length("half_life", self.half_life))

    @property
    def algebra(self) -> Algebra:
        """A group; with ``half_life`` a monoid: what has been taken back leaves its time, if that was the newest."""
        return "group" if self.half_life is None else "monoid"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, G and R side by side as compensated sums, their clock, and the newest query."""
        d_k, d_v = self.sizes(shapes)
        features = self._features(np.zeros((1, d_k))).shape[1]
        sums = (features, features + d_v)
        clock = () if self.half_life is None else (Field("epoch", (1,), dtype="<i8"), Field("time"))
        leverage = () if self.readout == "after" else (Field("leverage"),)
        fields = (Field("count", dtype="<i8"), Field("sum", sums), Field("lost", sums), *clock)
        return Layout((*fields, *self.newest_fields(d_k, d_v), *leverage))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Add the batch to G and R; the read-out at each event."""
        read_outs = self._add(state, batch, 1.0, read=each or self.readout == "before")
        state["count"] += batch.groups.count
        if read_outs is None:
            return self.results(state, batch, None, each=False)
        values, leverage = read_outs
        results = self.results(state, batch, values, each=each)
        if self.readout == "before":
            state["leverage"] = np.where(state["predicted"] > 0, leverage[batch.groups.last], 0.0)
        return None if results is None else _with(leverage, results)

    def read(self, state: State, query: Floats | None = None) -> Readout:
        """The latest result of each key; of a query, what the memory gives for it now (which has no error)."""
        if self.readout == "before" and query is None:
            leverage = np.where(state["predicted"] > 0, state["leverage"], np.nan)
        else:
            leverage = self._predict(state, state["query"] if query is None else query)[1]
            leverage[state["count"] == 0] = np.nan
        return _with(leverage, super().read(state, query))

    def attend(self, state: State, query: Floats) -> Floats:
        """The prediction."""
        return self._predict(state, query)[0]

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "gram": G, "moment": R}``."""
        total = (state["sum"] + state["lost"]) / self._unit(state.fields.get("time"))[..., None, None]
        features = total.shape[1]
        columns = (state["count"].tolist(), total[:, :, :features].tolist(), total[:, :, features:].tolist())
        return [{"count": n, "gram": gram, "moment": moment} for n, gram, moment in zip(*columns, strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Add G and R, as of the later time."""
        more, more_lost = other["sum"], other["lost"]
        if self.half_life is not None:
            kept, taken = align(state["epoch"], state["count"], other["epoch"], other["count"])
            for name in ("sum", "lost"):
                state[name] *= kept[:, :, None]
            more, more_lost = taken[:, :, None] * more, taken[:, :, None] * more_lost
            its = np.where(other["count"] > 0, other["time"], state["time"])
            state["time"] = np.where(state["count"] > 0, np.maximum(state["time"], its), its)
        add_sums(state["sum"], state["lost"], more, more_lost)
        state["count"] += other["count"]
        if self.readout == "before":
            state["leverage"] = np.where(other["count"] > 0, other["leverage"], state["leverage"])
        self.take_newest(state, other)

    def retract(self, state: State, batch: Batch) -> None:
        """Without ``half_life``: take the events out of G and R."""
        if self.half_life is not None:
            super().retract(state, batch)
        self._add(state, batch, -1.0, read=False)
        state["count"] -= batch.groups.count

    def _features(self, x: Floats) -> Floats:
        return FEATURE_MAPS[self.feature_map](x)

    @property
    def _half_lives(self) -> Floats:
        return np.array([self.half_life], float)

    def _unit(self, now: Floats | None) -> Floats:
        """What an event of now weighs in the sums; without ``half_life`` that is 1 at all times."""
        return np.ones(1) if now is None else epochs(now, self._half_lives)[1][:, 0]

    def _predict(self, state: State, query: Floats) -> tuple[Floats, Floats]:
        """What the memory of each key gives for its query now, (G, d_v), and its leverage, (G,)."""
        total, features, unit = (
            state["sum"] + state["lost"],
            self._features(query),
            self._unit(state.fields.get("time")),
        )
        gram, moment = np.split(total, [features.shape[1]], axis=2)
        x = solve(gram, features, self.l2 * unit)
        return (x[:, None] @ moment)[:, 0], unit * (x * features).sum(axis=1)

    def _add(self, state: State, batch: Batch, sign: float, *, read: bool) -> tuple[Floats, Floats] | None:
        """Add the events to the sums, or take them out; what is read at each, (N, d_v), and its leverage, (N,)."""
        keys, values = self._features(batch.columns["key"]), batch.columns["value"]
        pairs = np.concatenate([keys, values], axis=1)
        queries = self._features(self.queries(batch)) if read else None
        predicted, leverage = np.empty_like(values), np.empty(len(values))
        kept, weight, unit = self._weights(state, batch)
        weighted = sign * weight[:, None] * keys
        for block in batch.groups.pieces(_LENGTH, max(1, _CACHED // (_LENGTH * keys.shape[1] ** 2))):
            run = Run.of(block, weighted, pairs, kept)
            high, low = state["sum"][block.groups], state["lost"][block.groups]
            if queries is not None:
                gram, moment = np.split(high + low, [keys.shape[1]], axis=2)
                gram = grams(run, gram, before=self.readout == "before")
                asked, events = run.before() if self.readout == "before" else run, block.events.T
                value, square = predictions(asked, block, gram, moment, queries[events], l2=self.l2 * unit[events])
                block.put(value.swapaxes(0, 1), predicted)
                block.put((unit[events] * square).T, leverage)
            high, error = two_sum(run.left(high), run.total(run.value))
            error += run.left(low)
            state["sum"][block.groups], state["lost"][block.groups] = high, error
        return (predicted, leverage) if read else None

    def _weights(self, state: State, batch: Batch) -> tuple[Floats | None, Floats, Floats]:
        """What each event leaves of the sums, if not all, its weight in them, and the unit when it is read: (N,)."""
        if self.half_life is None:
            one = np.ones(len(batch.time))
            return None, one, one
        kept, weight = advance(batch.groups, state["epoch"], state["count"], batch.time, self._half_lives)
        before, after = pass_time(state, batch)
        return kept[:, 0], weight[:, 0], self._unit(after if self.readout == "after" else before)


def _with(leverage: Floats, results: Readout) -> Readout:
    """Results with their leverage as a part of its own."""
    return {**(results if isinstance(results, dict) else {"value": np.asarray(results, float)}), "leverage": leverage}
