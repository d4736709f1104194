"""Runs of key-value pairs that are written to matrix memories, for many keys at once.

What an event reads of the memory, S = a S + k^T u, is what is left of the memory from before the run, and of what each
event before it wrote: a few matrix products for the whole run in place of one step after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Block, Floats, Ints


@dataclass(frozen=True)
class Run:
    """L events of g groups: ``key`` (g, L, d_k) and ``value`` (g, L, d_v).

    What is left, at each event, of the memory from before is ``since`` (g, L, 1), of what event j wrote ``between``
    (g, L, L), which is 0 for those yet to come. If the memory is ``lasting``, without decays, all is left, for all
    groups.
    """

    key: Floats
    value: Floats
    since: Floats
    between: Floats
    lasting: bool

    @classmethod
    def of(cls, block: Block, key: Floats, value: Floats, kept: Floats | None) -> Run:
        """The events of a block, of columns (N, ...); ``kept`` (N,) is what each leaves of the memory, if not all.

        What fills the block up writes nothing and leaves everything.
        """
        length = len(block.events)
        key, value = laid(block, key, 0.0), laid(block, value, 0.0)
        if kept is None:
            return cls(key, value, np.ones((1, length, 1)), np.tri(length)[None], lasting=True)
        left = laid(block, kept, 1.0)
        # Row i of column j is what is left at event i of what event j wrote: the product of what came between.
        between = np.where(np.tri(length, k=-1, dtype=bool), left[:, :, None], 1.0)
        between = np.tril(np.multiply.accumulate(between, axis=1))
        return cls(key, value, np.multiply.accumulate(left, axis=1)[:, :, None], between, lasting=False)

    def read(self, memory: Floats, query: Floats, written: Floats) -> Floats:
        """What each query (g, L, d_k) reads right after its event, (g, L, d_v), if u is ``written`` (g, L, d_v)."""
        read: Floats = self.kept(query @ memory)
        read += self.weights(query) @ written
        return read

    def weights(self, query: Floats) -> Floats:
        """What each event weighs for each query (g, L, d_k) right after its own: (g, L, L)."""
        return (query @ self.key.swapaxes(1, 2)) * self.between

    def kept(self, read: Floats) -> Floats:
        """What is left, at each event, of what was read of the memory from before, (g, L, ...)."""
        return read if self.lasting else self.since * read

    def left(self, memory: Floats) -> Floats:
        """What is left of the memory (g, d_k, d_v) after the last event."""
        return memory if self.lasting else self.since[:, -1:] * memory

    def total(self, written: Floats) -> Floats:
        """What is left of all that was written after the last event: (g, d_k, d_v)."""
        total: Floats = (self.key * self.between[:, -1, :, None]).swapaxes(1, 2) @ written
        return total

    def before(self) -> Run:
        """The same events, with what is left at each taken before it writes and before its own decay."""
        since, between = np.ones_like(self.since), np.zeros_like(self.between)
        since[:, 1:], between[:, 1:] = self.since[:, :-1], self.between[:, :-1]
        return replace(self, since=since, between=between)


def laid(block: Block, column: Floats, filling: float) -> Floats:
    """A column (N, ...) as the block has it, (g, L, ...), with a number of its own where the block is filled up."""
    rows = column.take(block.events.T, axis=0)
    if block.inside is not None:
        rows[_filling(block)] = filling
    return rows


def own_places(block: Block) -> Ints | slice:
    """Where the block's own events are if it is laid out and flattened, (g L, ...)."""
    return slice(None) if block.inside is None else np.flatnonzero(~_filling(block))


def _filling(block: Block) -> npt.NDArray[np.bool_]:
    return np.arange(len(block.events)) > block.last[:, None]
