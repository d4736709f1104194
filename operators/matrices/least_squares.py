"""The normal equations of many least squares problems at once, growing event by event."""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Block, Floats
from operators.matrices.pair_runs import Run, own_places


def predictions(run: Run, block: Block, total: Floats, query: Floats, l2: Floats) -> tuple[Floats, Floats]:
    """For each query (g, L, d_k), at its event, the prediction q A^-1 R, (g, L, d_v), and q A^-1 q^T, (g, L).

    The values of the run are (k, v), so that G and R are side by side in the ``total`` (g, d_k, d_k + d_v) of what was
    before; A is G + l2 I with an ``l2`` (g, L) of each event's own. What fills the block up is not solved for.
    """
    g, length, d_k = query.shape
    terms = np.empty((g, 1 + length, d_k, d_k))
    terms[:, 0] = total[:, :, :d_k]
    np.multiply(run.key[:, :, :, None], run.value[:, :, None, :d_k], out=terms[:, 1:])
    weights = np.concatenate([run.since, run.between], axis=2)
    grams = (weights @ terms.reshape(g, 1 + length, -1)).reshape(-1, d_k, d_k)
    own = own_places(block)
    x = np.zeros((g * length, d_k))
    x[own] = solve(grams[own], query.reshape(-1, d_k)[own], l2.reshape(-1)[own])
    x = x.reshape(query.shape)
    return run.read(total[:, :, d_k:], x, run.value[:, :, d_k:]), (x * query).sum(axis=-1)


def solve(gram: Floats, query: Floats, l2: Floats) -> Floats:
    """The solutions x (..., d) of (gram + l2 I) x = query; the grams (..., d, d) are overwritten.

    Rounding may have made the least eigenvalue of a gram some d units in the last place too small. Where l2 is less
    than that, and so lost beside the gram, that much is taken in its place. Scaling by powers of 2 to a diagonal near 1
    rounds nothing, and leaves the condition of the key's numbers among each other, whatever their units.
    """
    diagonal = np.einsum("...ii->...i", gram)
    diagonal += np.maximum(l2[..., None], 4.0 * query.shape[-1] * np.finfo(float).eps * diagonal)
    scale = np.ldexp(1.0, -(np.frexp(diagonal)[1] // 2))
    gram *= scale[..., :, None]
    gram *= scale[..., None, :]
    x: Floats = scale * np.linalg.solve(gram, (scale * query)[..., None])[..., 0]
    return x
