"""Linear recurrences of many keys at once: memories that fade by a gate before each event adds to them.

Nothing here divides by a decay or takes its logarithm. A run of events is cut in halves, these again, and so on: what
an event of a second half reads of one in the first has passed the boundary between them, so that its weight is what was
left of the one at the boundary times what is left of the boundary at the other. Both are products of gates from 0 to 1,
so nothing overflows, no digit cancels, and where a product falls to 0 so does the weight.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.grouping import Block, Floats, Groups, Ints
from operators.scan import two_sum

_SEGMENT = 64
"""Events that meet each other directly; those of earlier segments they meet in the memory."""

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
    for block in groups.pieces(_LENGTH, max(1, _CACHED // (heads * d_k * d_v))):
        run = _Run(block, len(values))
        k, v = run.lay_out(keys, 0.0, heads), run.lay_out(values[:, None], 0.0)
        a = None if gates is None else run.lay_out(gates, 1.0)
        q = None if queries is None else run.lay_out(queries, 0.0, heads)
        read, left = _meet(k, v, a, q, own=own)
        added = _segments(k).swapaxes(-1, -2) @ _segments(v)
        before = _carry(memory, lost, block.groups, added, left)
        if result is not None and q is not None and read is not None:
            read += (_segments(q) @ before).reshape(read.shape)
            block.put(np.moveaxis(read, 2, 0)[: len(block.events)], result)
    return result


def faded_sums(groups: Groups, initial: Floats, gates: Floats, terms: Floats) -> Floats:
    """The sums h = a h + x, element by element, from each group's ``initial`` (G, ...): after every event, (N, ...).

    Steps are combined pairwise (Hillis and Steele 1986), so a rounding is made log2 L times, not L times.
    """
    result = np.empty_like(terms)
    for block in groups.blocks:
        left, sums = gates[block.events], terms[block.events]
        sums[0] += left[0] * initial[block.groups]
        step = 1
        while step < len(sums):
            sums[step:] += left[step:] * sums[:-step]
            left[step:] *= left[:-step]
            step *= 2
        block.put(sums, result)
    return result


class _Run:
    """The events of a block, laid out by group and rank and filled up to a power of 2."""

    def __init__(self, block: Block, total: int) -> None:
        rank = np.arange(1 << (len(block.events) - 1).bit_length())
        self.events: Ints = np.minimum(block.events[0][:, None] + rank, total - 1)
        self.filling: npt.NDArray[np.bool_] = rank > block.last[:, None]
        self.full = not self.filling.any()

    def lay_out(self, rows: Floats, fill: float, heads: int = 1) -> Floats:
        """Rows (N, h, d) as (g, heads, L, d), with another number where no event is."""
        laid = rows[self.events]
        if not self.full:
            laid[self.filling] = fill
        laid = laid.swapaxes(1, 2)
        return laid.repeat(heads, axis=1) if heads > laid.shape[1] else np.ascontiguousarray(laid)


def _segments(rows: Floats) -> Floats:
    """Rows (g, h, L, d) by segments, (g, h, n, s, d): a view."""
    g, heads, length, d = rows.shape
    size = min(length, _SEGMENT)
    return rows.reshape(g, heads, length // size, size, d)


def _meet(
    k: Floats, v: Floats, a: Floats | None, q: Floats | None, *, own: bool
) -> tuple[Floats | None, Floats | None]:
    """Let the events of a segment meet: what each reads of those in its own segment, (g, H, L, d_v).

    Also, from each segment's beginning to its end, what is left of a memory, (g, H, n, 1 or d_k). Keys are multiplied
    in place by what is left of them at the end of their segment, queries by what was left of a memory at its beginning.
    """
    g, heads, length, d_k = k.shape
    read = None
    if q is not None:
        read = (q * k).sum(axis=-1, keepdims=True) * v if own else np.zeros((g, heads, length, v.shape[-1]))
        if own and a is not None:
            q *= a
    step = 1
    while step < min(length, _SEGMENT):
        halves = (g, -1, length // (2 * step), 2, step)
        first = k.reshape(*halves, d_k)[:, :, :, 0]
        if q is not None and read is not None:
            second = q.reshape(*halves, d_k)[:, :, :, 1]
            weights = second @ first.swapaxes(-1, -2)
            read.reshape(*halves, v.shape[-1])[:, :, :, 1] += weights @ v.reshape(*halves, v.shape[-1])[:, :, :, 0]
        if a is not None:
            left = a.reshape(*halves[:-1], a.shape[-1])
            first *= left[:, :, :, 1, None]
            if q is not None:
                second *= left[:, :, :, 0, None]
            a = left[:, :, :, 0] * left[:, :, :, 1]
        step *= 2
    return read, a


def _carry(memory: Floats, lost: Floats | None, rows: Ints, added: Floats, left: Floats | None) -> Floats:
    """Carry the memories of these rows through what each segment adds and leaves; as they were before each segment."""
    before = np.empty_like(added)
    now = memory[rows]
    low = None if lost is None else lost[rows]
    for i in range(added.shape[2]):
        before[:, :, i] = now if low is None else now + low
        if left is not None:
            now = left[:, :, i, :, None] * now
        if low is None:
            now = now + added[:, :, i]
        else:
            now, error = two_sum(now, added[:, :, i])
            low = error + (low if left is None else left[:, :, i, :, None] * low)
    memory[rows] = now
    if lost is not None and low is not None:
        lost[rows] = low
    return before
