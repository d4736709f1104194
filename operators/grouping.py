"""Group a batch by key, once, for all operators of a table; and scans that never mix two keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_RADIX = 1 << 16


@dataclass(frozen=True)
class Groups:
    """N events sorted by key: group g is the run ``start[g] : start[g] + count[g]`` of the sorted events.

    ``order`` (N,) is the arrival index of each sorted event, so ``sorted = column[order]`` and
    ``column[order] = sorted`` go there and back; ``segment`` (N,) is each sorted event's group; ``position`` (N,) its
    place within the group, from 0; ``last`` (G,) the sorted index of each group's last event.
    """

    order: Ints
    start: Ints
    count: Ints
    segment: Ints
    position: Ints
    last: Ints


def stable_order(rows: Ints) -> Ints:
    """Indices that sort ``rows`` (non-negative, below 2**32) and keep the order of arrival among equals.

    NumPy sorts 16-bit integers by radix: two passes of that beat one comparison sort of 64-bit integers many times.
    """
    if len(rows) == 0 or int(rows.max()) < _RADIX:
        return np.argsort(rows.astype(np.uint16), kind="stable")
    low = np.argsort((rows & 0xFFFF).astype(np.uint16), kind="stable")
    high = (rows >> 16).astype(np.uint16)[low]
    return low[np.argsort(high, kind="stable")]


def group(rows: Ints) -> tuple[Ints, Groups]:
    """Group events by state row. Returns the distinct rows, ascending, and the grouping in that order."""
    order = stable_order(rows)
    ordered = rows[order]
    first = np.empty(len(ordered), bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    start = np.flatnonzero(first)
    count = np.diff(np.append(start, len(ordered)))
    segment = np.cumsum(first) - 1
    position = np.arange(len(ordered)) - start[segment]
    return ordered[start], Groups(order, start, count, segment, position, start + count - 1)
