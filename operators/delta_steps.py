"""Runs of delta rule steps at once, for many keys: matrix products in place of one step after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.grouping import Block, Floats


def normalized(keys: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Keys (N, d_k) of length 1, or 0, and values (N, d_v) divided by the length that the keys had.

    With k = |k| n, an update by rate k^T (v - k S) / |k|^2 is one by rate n^T (v / |k| - n S), whose numbers are no
    larger than those of the memory. The power of two in a length is taken out before it is squared.
    """
    exponent = np.frexp(np.abs(keys).max(axis=1))[1][:, None]
    scaled = np.ldexp(keys, -exponent)
    length = np.sqrt(np.einsum("nk,nk->n", scaled, scaled))[:, None]
    length[length == 0] = np.inf
    return scaled / length, np.ldexp(values / length, -exponent)


@dataclass(frozen=True)
class Steps:
    """What N events do to their memories, S += rate k^T (v - k S): ``key`` (N, d_k), ``value`` (N, d_v), ``rate``."""

    key: Floats
    value: Floats
    rate: Floats

    def run(self, block: Block, kept: Floats | None) -> Run:
        """Those of a block, with decays of the memory, if any; what fills it up does nothing."""
        length = len(block.events)
        key, value, rate = (_laid(block, column, 0.0) for column in (self.key, self.value, self.rate))
        if kept is None:
            return Run(key, value, rate, np.ones((1, length, 1)), np.tri(length)[None])
        left = _laid(block, kept, 1.0)
        # Row i of column j is what is left at event i of what event j added: the product of what came between.
        between = np.where(np.tri(length, k=-1, dtype=bool), left[:, :, None], 1.0)
        between = np.tril(np.multiply.accumulate(between, axis=1))
        return Run(key, value, rate, np.multiply.accumulate(left, axis=1)[:, :, None], between)


@dataclass(frozen=True)
class Run:
    """L steps of g groups: ``key`` (g, L, d_k), ``value`` (g, L, d_v), ``rate`` (g, L, 1).

    What is left, at each step, of the memory from before is ``since`` (g, L, 1), of what step j added ``between``
    (g, L, L), which is 0 for those yet to come. Without decays both are the same for all groups.
    """

    key: Floats
    value: Floats
    rate: Floats
    since: Floats
    between: Floats

    def added(self, memory: Floats) -> Floats:
        """What each step adds along its key, (g, L, d_v), to the memory (g, d_k, d_v)."""
        overlap = np.tril(self.rate * (self.key @ self.key.swapaxes(1, 2)) * self.between, -1)
        alone = self.rate * (self.value - self.since * (self.key @ memory))
        return _forward_substituted(overlap, alone)

    def memory(self, memory: Floats, added: Floats) -> Floats:
        """The memory after the last step."""
        left = self.key * self.between[:, -1, :, None]
        return self.since[:, -1:] * memory + left.swapaxes(1, 2) @ added

    def read_outs(self, memory: Floats, query: Floats, added: Floats) -> Floats:
        """What each query (g, L, d_k) gives right after its step, (g, L, d_v)."""
        weights = (query @ self.key.swapaxes(1, 2)) * self.between
        read: Floats = self.since * (query @ memory) + weights @ added
        return read

    def before(self) -> Run:
        """The same steps, with what is left at each taken before the step and its own decay."""
        since, between = np.ones_like(self.since), np.zeros_like(self.between)
        since[:, 1:], between[:, 1:] = self.since[:, :-1], self.between[:, :-1]
        return Run(self.key, self.value, self.rate, since, between)


def _forward_substituted(lower: Floats, right: Floats) -> Floats:
    """The x (g, L, d) of (I + lower) x = right, where ``lower`` (g, L, L) is 0 on its diagonal and above.

    Upside down the system is upper triangular, in which elimination finds nothing to do and no rows to swap: a row
    depends on those before it alone. Swapped rows would let a large value change what was read before it came.
    """
    upper = (lower + np.eye(lower.shape[1]))[:, ::-1, ::-1]
    return np.asarray(np.linalg.solve(upper, right[:, ::-1]), float)[:, ::-1]


def _laid(block: Block, column: Floats, filling: float) -> Floats:
    """A column (N, ...) as the block has it, (g, L, ...), with a number of its own where the block is filled up."""
    laid = column[block.events.T]
    if block.inside is not None:
        laid[np.arange(laid.shape[1]) > block.last[:, None]] = filling
    return laid
