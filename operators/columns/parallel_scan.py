"""Any associative operation over the events of each key: what it gives at every event, or at each key's last.

Keys are taken side by side, event by event; the long runs of few keys pairwise (Hillis and Steele 1986), in log2 L
steps. Both forms combine the same pairs, so they agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Groups

Parts = tuple[npt.NDArray[Any], ...]
"""What elements are made of: arrays (n, ...) whose row i belongs to element i."""

Combine = Callable[[Parts, Parts], Parts]
"""The operation on n pairs of elements, the older ones and the newer ones; it makes new arrays."""


def scan(groups: Groups, combine: Combine, parts: Parts, *, each: bool) -> Parts:
    """Combine the elements (N, ...) of each group from its first to its last.

    With ``each``, returns what that gives at every event, (N, ...); without, at the last one of each group, (G, ...).
    """
    waves = groups.waves()
    laid = tuple(part.take(waves.events, axis=0) for part in parts)
    for (before, _), (begin, end) in pairwise(pairwise(waves.edges)):
        older = tuple(rows[before : before + end - begin] for rows in laid)
        newer = tuple(rows[begin:end] for rows in laid)
        _store(newer, combine(older, newer))
    for rest in waves.rests:
        runs = tuple(
            rows[rest.place : rest.place + rest.shape[0] * rest.shape[1]].reshape(*rest.shape, *rows.shape[1:])
            for rows in laid
        )
        step = 1
        while step < rest.shape[1]:
            older, newer = (tuple(_flat(rows[:, pick]) for rows in runs) for pick in (slice(-step), slice(step, None)))
            _store(tuple(rows[:, step:] for rows in runs), combine(older, newer))
            step *= 2
        if len(waves.edges) > 1:
            begin = waves.edges[-2] + rest.begin
            older = tuple(np.repeat(rows[begin : begin + rest.shape[0]], rest.shape[1], axis=0) for rows in laid)
            _store(runs, combine(older, tuple(map(_flat, runs))))
    if each:
        return tuple(map(waves.put, laid))
    results = tuple(np.empty((len(groups.start), *part.shape[1:]), part.dtype) for part in parts)
    for rows, result in zip(laid, results, strict=True):
        result[waves.groups] = rows.take(waves.last, axis=0)
    return results


def _flat(runs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows (g, L, ...) as (g L, ...)."""
    return runs.reshape(-1, *runs.shape[2:])


def _store(places: Parts, elements: Parts) -> None:
    for place, part in zip(places, elements, strict=True):
        place[...] = part.reshape(place.shape)
