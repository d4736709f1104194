"""The delta rule on a memory that decays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np

from operators.columns.grouping import Floats
from operators.columns.inputs import refuse
from operators.columns.newest_time import pass_time
from operators.duration import Duration, length
from operators.matrices.delta import Delta
from operators.operator import Batch, Field, FieldSpec, Layout, OperatorError, Shape, State
from operators.options import number

_GAMMA = "a number above 0, at most 1"


@dataclass(frozen=True, kw_only=True)
class GatedDeltaRule(Delta):
    """The delta rule on a memory that decays before each event: regression that also forgets what is not repeated.

        S'_i = a_i S_{i-1},  S_i = S'_i + r_i k'_i^T (v_i - k'_i S'_i),  o = q' S,  r_i = rate w_i / |k'_i|^2

    Parameters: those of ``delta_rule``, and exactly one of ``gamma``, in (0, 1], for a_i = gamma; ``half_life``, a
    duration of event time, for a_i = 2^(-gap / half_life), where the gap is the time since the newest event so far;
    ``decay``, a field with a_i itself, from 0 to 1. An event that comes late finds no gap: nothing decays, and it is
    learned like one of now. With ``readout = "before"`` the prediction is read before the event's own decay.
    State: the count, S and the newest query, 1 + d_k' d_v + d_k numbers; with ``half_life`` the newest time too; with
    ``readout = "before"`` 1 + 2 d_v more.
    Reference: Yang, Kautz, Hatamizadeh, Gated Delta Networks, arXiv 2412.06464.
    """

    gamma: float | None = None
    half_life: Duration | None = None
    decay: FieldSpec | None = None

    roles: ClassVar[tuple[str, ...]] = (*Delta.roles, "decay")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("gamma", "half_life", "decay") if getattr(self, name) is not None]
        if len(given) != 1:
            message = f"found {' and '.join(given) or 'none of them'}, expected exactly one of gamma, half_life, decay"
            raise OperatorError(given[-1] if given else "gamma", message)
        if self.gamma is not None and not 0 < number("gamma", self.gamma, _GAMMA) <= 1:
            raise OperatorError("gamma", f"found {self.gamma}, expected {_GAMMA}")
        if self.half_life is not None:
            object.__setattr__(self, "half_life", length("half_life", self.half_life))

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """Those of the delta rule, and with ``half_life`` the newest time."""
        layout = super().layout(shapes)
        return layout if self.half_life is None else replace(layout, fields=(*layout.fields, Field("time")))

    def kept(self, state: State, batch: Batch) -> Floats:
        """What the decay of each event leaves."""
        if self.decay is not None:
            decay = batch.columns["decay"]
            refuse("decay", decay, (decay >= 0) & (decay <= 1), "a number from 0 to 1")
            return decay
        if self.gamma is not None:
            return np.full(len(batch.time), float(self.gamma))
        before, after = pass_time(state, batch)
        return np.exp2((before - after) / cast(float, self.half_life))
