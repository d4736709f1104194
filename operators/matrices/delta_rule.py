"""The delta rule: a linear prediction of the value from the key, corrected by its error at every event."""

from __future__ import annotations

from dataclasses import dataclass

from operators.matrices.delta import Delta


@dataclass(frozen=True, kw_only=True)
class DeltaRule(Delta):
    """A fast-weight memory that overwrites what it gave for a key: linear regression, corrected event by event.

        S_i = S_{i-1} + r_i k'_i^T (v_i - k'_i S_{i-1}),  o = q' S,  r_i = rate w_i / |k'_i|^2,  k' = phi(k)

    Parameters: ``key``, ``value``, ``query``: fields that are vectors; ``rate``, in (0, 2): how much of its error an
    event takes away, all of it at 1; ``weight``, w: a field with a number that multiplies the rate, 1 if left out;
    ``normalize``: false leaves out the division by |k'|^2 (least mean squares), and then the memory stays bounded only
    while rate |k'|^2 < 2; ``feature_map``, phi; ``readout``, after the event, or before it: the prediction and its
    error. A key of 0 changes nothing. An event whose rate w is not in [0, 2) is refused.
    State: the count, S and the newest query, 1 + d_k' d_v + d_k numbers; with ``readout = "before"`` 1 + 2 d_v more.
    Only the direction of a key counts, and steps go along it, so that no step makes an older rounding error larger.
    References: Widrow and Hoff 1960; Kaczmarz 1937; Schlag, Irie, Schmidhuber, arXiv 2102.11174.
    """
