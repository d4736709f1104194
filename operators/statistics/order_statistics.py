"""The k-th smallest of each key's items at every event, while the batch adds to them."""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Ints


def running_order_statistics(slots: Ints, first: Ints, counts: Ints, ends: tuple[Ints, Ints], rank: Ints) -> Ints:
    """At each of M events that puts an item into a slot, the slot of the item of this ``rank`` among its key's.

    ``counts`` (T,) says how many items were in each slot before. Slots are in the order of their items; those of the
    event's key are ``ends[0] : ends[1]``, (M,) both, and the event puts its item into slot ``ends[0] + slots``. The
    key's first event is ``first`` (M,); the events of a key are neighbours. Ranks (..., M) count from 0.

    All events descend together through a wavelet tree (Grossi, Gupta, Vitter 2003) of the slots: from the highest bit
    to the lowest each goes to the half of the slots where its item is. So it takes log2 T steps, however the keys are
    spread.
    """
    begin, end = ends
    below = np.concatenate([[0], np.cumsum(counts)])
    rank = rank.copy()
    node = np.broadcast_to(begin, rank.shape)
    low, high = (np.broadcast_to(place, rank.shape) for place in (first, np.arange(1, len(slots) + 1)))
    for bit in reversed(range(int((end - begin - 1).max(initial=0)).bit_length())):
        upper = slots >> bit & 1
        zeros = np.concatenate([[0], np.cumsum(1 - upper)])
        low_zeros, high_zeros = zeros[low], zeros[high]
        half = node + (1 << bit)
        left = high_zeros - low_zeros + below[np.minimum(half, end)] - below[np.minimum(node, end)]
        up = rank >= left
        rank = np.where(up, rank - left, rank)
        node = np.where(up, half, node)
        low = np.where(up, zeros[-1] + low - low_zeros, low_zeros)
        high = np.where(up, zeros[-1] + high - high_zeros, high_zeros)
        slots = np.concatenate([slots[upper == 0], slots[upper == 1]])
    return node
