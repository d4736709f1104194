"""Linear recurrences of many keys at once: memories that fade by a gate before each event adds to them.

Nothing here divides by a decay or takes its logarithm. A run of events is cut in halves, these again, and so on: what
an event of a second half reads of one in the first has passed the boundary between them, so that its weight is what was
left of the one at the boundary times what is left of the boundary at the other. Both are products of gates from 0 to 1,
so nothing overflows, no digit cancels, and where a product falls to 0 so does the weight.
"""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Floats, Groups
from operators.columns.scan import two_sum
from operators.matrices.segments import Segments, cut, near, with_last

_LENGTH = 4096
"""Events of a key taken at once."""

_CACHED = 1 << 15
"""Numbers of memory taken at once: few enough to stay in the cache."""


def fold_pairs(
    groups: Groups,
    memory: Floats,
    keys: Floats,
    values: Floats,
    *,
    gates: Floats | None = None,
    queries: Floats | None = None,
    own: bool = True,
    lost: Floats | None = None,
) -> Floats | None:
    """Fold S = diag(a) S + k^T v, event by event, into the memories of the groups, (G, H, d_k, d_v), in place.

    A memory has H heads, which differ in what they forget: ``keys`` and ``queries`` are (N, h, d_k) and ``gates``, from
    0 to 1, (N, H, 1) or (N, H, d_k), or None if nothing is forgotten; h is H, or 1 for what all heads share; ``values``
    are (N, d_v). With ``lost``, shaped as the memory, that is a compensated sum: exact if all gates are powers of 2.

    Returns what each event reads, q S, (N, H, d_v): the memory with its own pair in it or, if not ``own``, as it was
    before even its gate. Without queries there is nothing to read.
    """
    heads, d_k, d_v = memory.shape[1:]
    held = (memory,) if lost is None else (memory, lost)
    keys, values = with_last(keys, 0.0), with_last(values[:, None], 0.0)
    gates = None if gates is None else with_last(gates, 1.0)
    queries = None if queries is None else with_last(queries, 0.0)
    result = np.empty((len(values), heads, d_v))
    for block in groups.pieces(_LENGTH, max(1, _CACHED // (heads * d_k * d_v))):
        run = Segments(block, len(values) - 1, heads)
        k, v = run.lay_out(keys), run.lay_out(values)
        a = None if gates is None else run.lay_out(gates)
        now = [part[block.groups] for part in held]
        if queries is None:
            left = None if a is None else _fade(k, a)
            _carry(now, k.swapaxes(-1, -2) @ v, left)
        else:
            q = run.lay_out(queries)
            read, left = _meet(k, v, a, q, own=own)
            _carry(now, k.swapaxes(-1, -2) @ v, left, (q, read))
            run.put(read, result)
        for part, folded in zip(held, now, strict=True):
            part[block.groups] = folded
    return None if queries is None else result[:-1]


def _fade(k: Floats, gates: Floats) -> Floats:
    """Let keys fade to the end of their segment, in place; what each segment leaves, (g, H, n, d_k or 1)."""
    size = near(k.shape[3])
    few, their = cut(k, size), cut(gates, size)
    left = their[..., -1, :].copy()
    for rank in range(size - 2, -1, -1):
        few[..., rank, :] *= left
        left *= their[..., rank, :]
    while size < k.shape[3]:
        left = _fade_once(k, left, size)
        size *= 2
    return left


def _fade_once(k: Floats, left: Floats, size: int) -> Floats:
    """Let keys that faded to the end of segments of this size fade to the end of those twice as long."""
    cut(k, size)[:, :, ::2] *= left[:, :, 1::2, None]
    return left[:, :, ::2] * left[:, :, 1::2]


def _meet(k: Floats, v: Floats, gates: Floats | None, q: Floats, *, own: bool) -> tuple[Floats, Floats | None]:
    """What each event reads of those in its own segment, and what the segment leaves of a memory.

    Keys fade to the end of their segment; queries, in place too, are multiplied by what is left of a memory from the
    beginning of the segment to them.
    """
    size, left = near(k.shape[3]), None
    if gates is None:
        weights = np.tril(cut(q, size) @ cut(k, size).swapaxes(-1, -2), 0 if own else -1)
    else:
        weights, left = _meet_near(cut(k, size), cut(gates, size), cut(q, size), own=own)
    read = (weights @ cut(v, size)).reshape(*q.shape[:-1], v.shape[-1])
    while size < k.shape[3]:
        first, second = cut(k, size)[:, :, ::2], cut(q, size)[:, :, 1::2]
        later = cut(read, size)[:, :, 1::2]
        later += second @ first.swapaxes(-1, -2) @ cut(v, size)[:, :, ::2]
        if left is not None:
            second *= left[:, :, ::2, None]
            left = _fade_once(k, left, size)
        size *= 2
    return read, left


def _meet_near(k: Floats, gates: Floats, q: Floats, *, own: bool) -> tuple[Floats, Floats]:
    """What the events of short runs (..., s, d) weigh for each other, (..., s, s), and what a run leaves of a memory.

    Keys and queries fade as in `_meet`, event by event.
    """
    weights = np.zeros((*k.shape[:-1], k.shape[-2]))
    for rank in range(k.shape[-2]):
        earlier, query, seen = k[..., :rank, :], q[..., rank, :, None], rank + own
        if own:
            earlier *= gates[..., rank, None, :]
        weights[..., rank, :seen] = (k[..., :seen, :] @ query)[..., 0]
        if not own:
            earlier *= gates[..., rank, None, :]
    since = np.multiply.accumulate(gates, axis=-2)
    if own:
        q *= since
    else:
        q[..., 1:, :] *= since[..., :-1, :]
    return weights, since[..., -1, :]


def _carry(held: list[Floats], added: Floats, left: Floats | None, asked: tuple[Floats, Floats] | None = None) -> None:
    """Carry memories, and what they lost, through what each segment adds and leaves, in place.

    What queries read of the memory as it is before their segment is added to what they read already.
    """
    memory, *lost = held
    for i in range(added.shape[2]):
        if asked is not None:
            queries, read = asked
            read[:, :, i] += queries[:, :, i] @ (memory + lost[0] if lost else memory)
        if left is not None:
            for part in held:
                np.multiply(part, left[:, :, i, :, None], out=part)
        if lost:
            memory[...], error = two_sum(memory, added[:, :, i])
            lost[0] += error
        else:
            memory += added[:, :, i]
