"""What became of the events: counts too high and too low, results missing and repeated, and how long nothing came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Tally:
    """Sums over all keys. ``counted`` is what the table says in the end, ``published`` how many counts came out.

    A right table has ``counted == events``; right outputs are each of 1, 2, ... n once for a key with n events.
    """

    events: int
    counted: int
    surplus: int
    loss: int
    published: int
    missing: int
    repeated: int


def tally(sent: Mapping[str, int], table: Mapping[str, int], outputs: Iterable[tuple[str, int]]) -> Tally:
    """Compare the events sent by key with the table's counts by key and with the published ones (key, count).

    ``surplus`` and ``loss`` do not cancel out between keys. ``repeated`` are published counts that came before, or that
    the key never reached.
    """
    off = [table.get(key, 0) - sent.get(key, 0) for key in sent.keys() | table.keys()]
    times = Counter(outputs)
    right = sum(1 for key, count in times if 1 <= count <= sent.get(key, 0))
    events, published = sum(sent.values()), times.total()
    return Tally(
        events=events,
        counted=sum(table.values()),
        surplus=sum(max(0, n) for n in off),
        loss=sum(max(0, -n) for n in off),
        published=published,
        missing=events - right,
        repeated=published - right,
    )


def silences(
    stamps: Mapping[int, Sequence[float]], faults: Sequence[float], end: float, partitions: Iterable[int]
) -> list[float]:
    """For each fault, how long a partition published nothing after it, at most: seconds.

    ``stamps`` are the times of what was published, by partition; ``faults`` those of the faults, in order. A silence
    counts from the fault on, for every fault before whose successor it began; the last ones end with the load, ``end``.
    """
    found = []
    for fault, following in pairwise([*faults, end]):
        longest = 0.0
        for partition in partitions:
            marks = [stamp for stamp in sorted(stamps.get(partition, ())) if stamp < end]
            for began, ended in pairwise([min([fault, *marks]), *marks, end]):
                if ended > fault and began < following:
                    longest = max(longest, ended - max(began, fault))
        found.append(longest)
    return found
