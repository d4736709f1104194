"""The normal equations of many least squares problems at once, growing event by event."""

from __future__ import annotations

import numpy as np

from operators.grouping import Floats
from operators.pair_runs import Run


def predictions(run: Run, total: Floats, query: Floats, l2: Floats) -> tuple[Floats, Floats]:
    """For each query (g, L, d_k), at its event, the prediction q A^-1 R, (g, L, d_v), and q A^-1 q^T, (g, L).

    The values of the run are (k, v), so that G and R are side by side in the ``total`` (g, d_k, d_k + d_v) of what was
    before; A is G + l2 I with an ``l2`` (g, L) of each event's own.
    """
    d_k = query.shape[2]
    squares = run.key[:, :, :, None] * run.value[:, :, None, :d_k]
    grams = run.between @ squares.reshape(*squares.shape[:2], -1)
    grams = grams.reshape(*grams.shape[:2], d_k, d_k)
    grams += run.since[..., None] * total[:, None, :, :d_k]
    x = solve(grams, query, l2)
    return run.read(total[:, :, d_k:], x, run.value[:, :, d_k:]), (x * query).sum(axis=-1)


def solve(gram: Floats, query: Floats, l2: Floats) -> Floats:
    """The solutions x (..., d) of (gram + l2 I) x = query; the grams (..., d, d) are overwritten.

    A diagonal of 1 leaves the condition of the key's numbers among each other, whatever their units. Rounding may have
    made the least eigenvalue that much too small, which l2 makes up for unless it is lost itself.
    """
    diagonal = np.einsum("...ii->...i", gram)
    scale = 1.0 / np.sqrt(diagonal + l2[..., None])
    gram *= scale[..., :, None]
    gram *= scale[..., None, :]
    diagonal[...] = 1.0 + query.shape[-1] * np.finfo(float).eps
    x: Floats = scale * np.linalg.solve(gram, (scale * query)[..., None])[..., 0]
    return x
