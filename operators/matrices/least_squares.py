"""The normal equations of many least squares problems at once, growing event by event."""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Block, Floats
from operators.matrices.pair_runs import Run, own_places


def grams(run: Run, total: Floats, *, before: bool) -> Floats:
    """The memory G that was ``total`` (g, d, d), as it is after each event, or ``before`` it: (g, L, d, d).

    The first d of the values of the run are its keys.
    """
    d, first = total.shape[1], int(before)
    length = run.key.shape[1] - first
    result = np.empty((len(run.key), length + first, d, d))
    result[:, :first] = total[:, None]
    np.einsum("glk,glj->glkj", run.key[:, :length], run.value[:, :length, :d], out=result[:, first:])
    for rank in range(length):
        old = result[:, rank - 1 + first] if rank + first else total
        if not run.lasting:
            left = run.since[:, 0] if rank == 0 else run.between[:, rank, rank - 1, None]
            old = left[:, :, None] * old
        result[:, rank + first] += old
    return result


def predictions(
    run: Run, block: Block, gram: Floats, moment: Floats, query: Floats, *, l2: Floats
) -> tuple[Floats, Floats]:
    """For each query (g, L, d_k), at its event, the prediction q A^-1 R, (g, L, d_v), and q A^-1 q^T, (g, L).

    A is G + l2 I with a ``gram`` G (g, L, d_k, d_k), which is overwritten, and an ``l2`` (g, L) of each event's own. R
    is what the run reads of its values, (k, v), and of the ``moment`` (g, d_k, d_v) before it. What fills the block up
    is not solved for.
    """
    d_k = query.shape[-1]
    own = own_places(block)
    x = np.zeros_like(query)
    flat = x.reshape(-1, d_k)
    flat[own] = solve(gram.reshape(-1, d_k, d_k)[own], query.reshape(-1, d_k)[own], l2.reshape(-1)[own])
    return run.read(moment, x, run.value[:, :, d_k:]), (x * query).sum(axis=-1)


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
