"""Linear recurrences of many keys at once: memories that fade by a gate before each event adds to them.

Nothing here divides by a decay or takes its logarithm. A run of events is cut in halves, these again, and so on: what
an event of a second half reads of one in the first has passed the boundary between them, so that its weight is what was
left of the one at the boundary times what is left of the boundary at the other. Both are products of gates from 0 to 1,
so nothing overflows, no digit cancels, and where a product falls to 0 so does the weight.
"""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Block, Floats, Groups, Ints
from operators.columns.scan import two_sum

_SEGMENT = 64
"""Events that meet each other directly; those of earlier segments they meet in the memory."""

_NEAR = 8
"""Events that meet each other directly, unless each row of the memory has gates of its own: the shortest segment."""

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
    result = None if queries is None else np.empty((len(values), heads, d_v))
    held = (memory,) if lost is None else (memory, lost)
    for block in groups.pieces(_LENGTH, max(1, _CACHED // (heads * d_k * d_v))):
        run = _Segments(block, len(values))
        k, v = run.lay_out(keys, 0.0, heads), run.lay_out(values[:, None], 0.0)
        a = None if gates is None else run.lay_out(gates, 1.0)
        if queries is None or result is None:
            left = None if a is None else _fade(k, a)
            _carry(held, block.groups, k.swapaxes(-1, -2) @ v, left)
        else:
            q = run.lay_out(queries, 0.0, heads)
            read, left = _meet(k, v, a, q, own=own)
            added = k.swapaxes(-1, -2) @ v
            before = np.empty_like(added)
            _carry(held, block.groups, added, left, before)
            read += q @ before
            run.put(read, result)
    return result


class _Segments:
    """The events of a block, laid out by group, and within it by segments whose length is a power of 2."""

    def __init__(self, block: Block, total: int) -> None:
        self._block = block
        length = 1 << (len(block.events) - 1).bit_length()
        size = min(length, _SEGMENT)
        rank = np.arange(length).reshape(-1, size)
        self._events: Ints = np.minimum(block.events[0][:, None, None] + rank, total - 1)
        self._filling = np.nonzero(rank > block.last[:, None, None])

    def lay_out(self, rows: Floats, fill: float, heads: int = 1) -> Floats:
        """Rows (N, h, d) as (g, H, segments, size, d), with another number where no event is: a copy."""
        laid = rows[self._events]
        laid[self._filling] = fill
        laid = np.moveaxis(laid, -2, 1)
        return laid.repeat(heads, axis=1) if heads > laid.shape[1] else np.ascontiguousarray(laid)

    def put(self, laid: Floats, out: Floats) -> None:
        """Store results that are laid out with the sorted events they belong to, (N, H, d)."""
        by_rank = np.moveaxis(laid.reshape(*laid.shape[:2], -1, laid.shape[-1]), 2, 0)
        self._block.put(by_rank[: len(self._block.events)], out)


def _fade(k: Floats, gates: Floats) -> Floats:
    """Let keys fade to the end of their segment, in place; what each segment leaves, (g, H, n, d_k or 1)."""
    size, left = 1, _cut(gates, 1)[:, :, :, 0]
    while size < k.shape[3]:
        left = _fade_once(k, left, size)
        size *= 2
    return left


def _fade_once(k: Floats, left: Floats, size: int) -> Floats:
    """Let keys that faded to the end of segments of this size fade to the end of those twice as long."""
    _cut(k, size)[:, :, ::2] *= left[:, :, 1::2, None]
    return left[:, :, ::2] * left[:, :, 1::2]


def _meet(k: Floats, v: Floats, gates: Floats | None, q: Floats, *, own: bool) -> tuple[Floats, Floats | None]:
    """What each event reads of those in its own segment, and what the segment leaves of a memory.

    Keys fade to the end of their segment; queries, in place too, are multiplied by what is left of a memory from the
    beginning of the segment to them.
    """
    size = min(k.shape[3], _NEAR) if gates is None or gates.shape[-1] == 1 else 1
    near = _cut(q, size) @ _cut(k, size).swapaxes(-1, -2)
    left = None
    if gates is None or size == 1:
        near = np.tril(near, 0 if own else -1)
        if gates is not None:
            left = _cut(gates, 1)[:, :, :, 0]
            q *= gates if own else 1.0
    else:
        near, left = _fade_near(_cut(k, size), _cut(gates, size), _cut(q, size), near, own=own)
    read = (near @ _cut(v, size)).reshape(*q.shape[:-1], v.shape[-1])
    while size < k.shape[3]:
        first, second = _cut(k, size)[:, :, ::2], _cut(q, size)[:, :, 1::2]
        later = _cut(read, size)[:, :, 1::2]
        later += second @ first.swapaxes(-1, -2) @ _cut(v, size)[:, :, ::2]
        if left is not None:
            second *= left[:, :, ::2, None]
            left = _fade_once(k, left, size)
        size *= 2
    return read, left


def _fade_near(k: Floats, gates: Floats, q: Floats, near: Floats, *, own: bool) -> tuple[Floats, Floats]:
    """What events of a short run read of each other, with what came between them; what the run leaves of a memory.

    Gates are (..., s, 1), ``near`` is (..., s, s), of pairs yet to come too. Keys and queries fade as in `_meet`.
    """
    past = np.tri(gates.shape[-2], k=-1, dtype=bool)
    since = np.multiply.accumulate(gates, axis=-2)
    between = np.tril(np.multiply.accumulate(np.where(past, gates, 1.0), axis=-2))
    k *= between[..., -1, :, None]
    if own:
        q *= since
    else:
        q[..., 1:, :] *= since[..., :-1, :]
        between[..., 1:, :] = between[..., :-1, :]
        between[..., 0, :] = 0.0
    # What has no weight is not looked at: it may be infinite.
    faded = np.multiply(near, between, out=np.zeros_like(near), where=between != 0)
    return faded, since[..., -1, :]


def _cut(rows: Floats, size: int) -> Floats:
    """Rows that are laid out by segments, (g, H, n, s, d), cut into shorter ones: a view."""
    return rows.reshape(*rows.shape[:2], -1, size, rows.shape[-1])


def _carry(
    held: tuple[Floats, ...], rows: Ints, added: Floats, left: Floats | None, before: Floats | None = None
) -> None:
    """Carry the memories of these rows, and what they lost, through what each segment adds and leaves.

    ``before``, shaped as what is added, gets the memories as they are before each segment.
    """
    now, *lost = (part[rows] for part in held)
    for i in range(added.shape[2]):
        if before is not None:
            before[:, :, i] = now + lost[0] if lost else now
        if left is not None:
            now *= left[:, :, i, :, None]
            lost = [part * left[:, :, i, :, None] for part in lost]
        if lost:
            now, error = two_sum(now, added[:, :, i])
            lost[0] += error
        else:
            now += added[:, :, i]
    for part, folded in zip(held, (now, *lost), strict=True):
        part[rows] = folded
