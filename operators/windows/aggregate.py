"""What a window of inputs comes down to, made so that it follows from what parts of the window come down to.

Windows are put together from such parts, and no input is ever subtracted from one: when it has left, nothing of it, not
even a rounding, is left behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats, Groups, Ints, group

Mask = npt.NDArray[np.bool_]

Parts = tuple[Floats, ...]
"""Of n sets of inputs: how many inputs there are, (n,), then the aggregate's own parts, (n, ...)."""


class Aggregate(ABC):
    """What a set of inputs comes down to: a commutative monoid.

    ``names`` are those of its own parts, ``empty`` what they are for no inputs.
    """

    names: ClassVar[tuple[str, ...]]
    empty: tuple[float, ...]

    @abstractmethod
    def lift(self, inputs: Floats) -> Parts:
        """Each input (n, ...) by itself."""

    @abstractmethod
    def combine(self, one: Parts, other: Parts) -> Parts:
        """Two sets of inputs together, n times."""

    @abstractmethod
    def described(self, parts: Parts) -> dict[str, Floats]:
        """The sets by the names of what is said of them."""

    def running(self, parts: Parts) -> Parts:
        """The first, the first two, ... of L sets together: (L, ...)."""
        step = 1
        while step < len(parts[0]):
            both = self.combine(pick(parts, slice(-step)), pick(parts, slice(step, None)))
            parts = joined([pick(parts, slice(step)), both])
            step *= 2
        return parts

    def total(self, parts: Parts) -> Parts:
        """All of L sets (L, ...) together: (...), by halves, so that a rounding is made log2 L times."""
        while (size := len(parts[0])) > 1:
            half = size // 2
            both = self.combine(pick(parts, slice(half)), pick(parts, slice(half, 2 * half)))
            parts = joined([both, pick(parts, slice(2 * half, None))])
        return pick(parts, 0)

    def totals(self, groups: Groups, parts: Parts) -> Parts:
        """The sets of each group (N, ...) together: (G, ...)."""
        result = self.nothing(len(groups.start), parts)
        for block in groups.blocks:
            runs = pick(parts, block.events)
            if block.inside is not None:
                runs = self.where(np.arange(len(block.events))[:, None] <= block.last, runs)
            put(result, block.groups, self.total(runs))
        return result

    def where(self, kept: Mask, parts: Parts) -> Parts:
        """The sets that are kept, and no inputs in the place of the others."""
        number, *own = parts
        emptied = (np.where(spread(kept, part), part, empty) for part, empty in zip(own, self.empty, strict=True))
        return np.where(kept, number, 0.0), *emptied

    def nothing(self, n: int, like: Parts) -> Parts:
        """No inputs, n times."""
        _, *own = like
        return np.zeros(n), *(np.full((n, *part.shape[1:]), empty) for part, empty in zip(own, self.empty, strict=True))

    def while_inside(self, events: int, begin: Ints, end: Ints, parts: Parts) -> Parts:
        """After each of so many events, all the sets together that are inside then: (events, ...).

        Set m comes with the event ``begin[m]`` and leaves with ``end[m]``, which is behind it. Its stay is cut into
        nodes of a segment tree over the events; what is at a node is inside during all the events below it.
        """
        nodes, which = _nodes(begin + events, end + events)
        filled, groups = group(nodes)
        tree = self.nothing(2 * events, parts)
        put(tree, filled, self.totals(groups, pick(parts, which[groups.order])))
        first = 2
        while first < 2 * events:
            level = np.arange(first, min(2 * first, 2 * events))
            put(tree, level, self.combine(pick(tree, level >> 1), pick(tree, level)))
            first *= 2
        return pick(tree, slice(events, None))


def pick(parts: Parts, at: Any) -> Parts:
    """Some of the sets."""
    return tuple(part[at] for part in parts)


def put(parts: Parts, at: Any, new: Parts) -> None:
    """Store sets in the place of some, in place."""
    for part, values in zip(parts, new, strict=True):
        part[at] = values


def joined(some: Sequence[Parts]) -> Parts:
    """Sets one behind the other."""
    return tuple(np.concatenate(part) for part in zip(*some, strict=True))


def spread(numbers: npt.NDArray[Any], rows: Floats) -> npt.NDArray[Any]:
    """Numbers (n,) as they go with rows (n, ...)."""
    return numbers.reshape(numbers.shape + (1,) * (rows.ndim - numbers.ndim))


def _nodes(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Intervals of leaves of a segment tree as few nodes: the nodes, and whose they are. Node n has 2n and 2n + 1."""
    whose = np.arange(len(left))
    nodes, owners = [left[:0]], [whose[:0]]
    while len(whose):
        for odd, node in ((left & 1, left), (right & 1, right - 1)):
            at = np.flatnonzero(odd)
            nodes.append(node[at])
            owners.append(whose[at])
        left, right = (left + 1) >> 1, right >> 1
        longer = left < right
        left, right, whose = left[longer], right[longer], whose[longer]
    return np.concatenate(nodes), np.concatenate(owners)
