"""Retention: a matrix of key-value pairs that fades by a constant factor at every event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from operators.columns.grouping import Floats
from operators.matrices.fading_matrix import FadingMatrix
from operators.operator import Batch, OperatorError, Shape, State
from operators.options import number, numbers

_GAMMA = "a number above 0, at most 1"
_GAMMAS = "a list of numbers above 0, at most 1"


@dataclass(frozen=True, kw_only=True)
class Retention(FadingMatrix):
    """A matrix of pairs that fades at every event, read by a query: the values of keys like it, the newest most.

        S_i = gamma S_{i-1} + k_i^T v_i,  o_i = q_i S_i = sum_j gamma^(i - j) (q_i . k_j) v_j

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; exactly one of ``gamma``, in (0, 1], and
    ``heads``, a list of gammas, with which the read-out is a list of one vector each (the paper has 1 - 2^(-5 - h));
    ``readout``, after the event, or before its gamma and its pair: the prediction and its error. Nothing is divided by:
    the read-out grows with the keys, and with 1 / (1 - gamma).
    State: the count, S and the newest query, 1 + d_k d_v + d_k numbers, of H heads 1 + H d_k d_v + d_k; with
    ``readout = "before"`` 1 + 2 d_v more a head.
    A weight gamma^n is a product of gammas, never a quotient, and a rounding error fades as what it belongs to does:
    altogether about the unit roundoff times 1 / (1 - gamma).
    Reference: Sun et al., Retentive Network, arXiv 2307.08621.
    """

    gamma: float | None = None
    heads: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("gamma", "heads") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise OperatorError(given[-1] if given else "gamma", f"found {found}, expected exactly one of gamma, heads")
        if self.gamma is not None and not 0 < number("gamma", self.gamma, _GAMMA) <= 1:
            raise OperatorError("gamma", f"found {self.gamma}, expected {_GAMMA}")
        if self.heads is not None:
            object.__setattr__(self, "heads", numbers("heads", self.heads, _GAMMAS))
            if not all(0 < gamma <= 1 for gamma in self.heads):
                raise OperatorError("heads", f"found {list(self.heads)}, expected {_GAMMAS}")

    @property
    def heads_shape(self) -> Shape:
        """One head a gamma of the list."""
        return () if self.heads is None else (len(self.heads),)

    def gates(self, batch: Batch) -> Floats:
        """The gammas."""
        return np.broadcast_to(self._gammas[:, None], (len(batch.time), len(self._gammas), 1))

    def left(self, state: State) -> Floats:
        """The powers of the gammas."""
        powers: Floats = np.power(self._gammas[:, None], state["count"][:, None, None])
        return powers

    @cached_property
    def _gammas(self) -> Floats:
        """Of each head, (H,)."""
        return np.array([self.gamma] if self.heads is None else self.heads, float)
