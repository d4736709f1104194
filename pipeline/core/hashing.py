"""128-bit hashes of many pairs of byte strings at once, the same on every machine and in every version.

They are written to changelogs, so they are frozen. Two different pairs meet with a probability of 2**-128; nothing is
promised against someone who looks for such pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_LONG = 64
_LANES = (
    (0x9E3779B97F4A7C15, 30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31),
    (0xD1B54A32D192ED03, 33, 0xFF51AFD7ED558CCD, 29, 0xC4CEB9FE1A85EC53, 32),
)


def hashes(firsts: Sequence[bytes], seconds: Sequence[bytes]) -> list[bytes]:
    """The hash of each pair, 16 bytes."""
    items = list(map(b"".join, zip(firsts, seconds, strict=True)))
    size = np.fromiter(map(len, items), np.uint64, len(items))
    start = size ^ np.fromiter(map(len, firsts), np.uint64, len(items)) << np.uint64(32)
    if size.max(initial=0) > _LONG:
        items = [item if len(item) <= _LONG else blake2b(item, digest_size=_LONG).digest() for item in items]
        size = np.minimum(size, _LONG)
    width = max(1, -(-int(size.max(initial=0)) // 8))
    words = np.ascontiguousarray(np.array(items, f"S{8 * width}").view("<u8").reshape(len(items), width).T)
    lanes = [_lane(start, words, size, lane) for lane in _LANES]
    found: list[bytes] = np.stack(lanes, axis=1).astype("<u8").view("V16").ravel().tolist()
    return found


def _lane(start: Words, words: Words, size: Words, lane: tuple[int, ...]) -> Words:
    """Word after word of each item mixed into one."""
    seed, shift, factor, second_shift, second_factor, last_shift = map(np.uint64, lane)

    def mixed(word: Words) -> Words:
        """A bijection in which every bit has a part in every other one."""
        word = (word ^ (word >> shift)) * factor
        word = (word ^ (word >> second_shift)) * second_factor
        return word ^ (word >> last_shift)

    state = mixed(start ^ seed)
    for n, word in enumerate(words):
        # What is beyond an item's end must not count: its hash would depend on the longest item beside it.
        state = np.where(size > 8 * n, mixed(state ^ word), state)
    return state
