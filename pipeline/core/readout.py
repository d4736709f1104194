"""Work on results without caring whether they are one array, named parts, or one mapping a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.readout import put
from operators.operator import Readout
from pipeline.core.batch import Ints

Result = Readout | Sequence[Mapping[str, object]]
"""An operator's results for N events or keys: its read-out, or the memory itself as one mapping a row."""

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def numbers(name: str, readout: Readout) -> Iterator[tuple[str, float]]:
    """The numbers of a read-out of one row that are defined, each by its own name.

    That is ``name`` for a single number, ``name.part`` for a named part, and ``name[0]``, ``name[1]``, ... for a
    vector; a matrix is taken row by row. Of a vector with a number that is not defined, none is.
    """
    if isinstance(readout, dict):
        for part, array in readout.items():
            yield from numbers(f"{name}.{part}", array)
        return
    if not np.isfinite(readout).all():
        return
    values = readout.ravel().tolist()
    yield from zip([name] if readout.ndim == 1 else [f"{name}[{i}]" for i in range(len(values))], values, strict=True)


def carry_forward(readout: Readout, before: Readout, used: Mask, start: Ints, segment: Ints) -> Readout:
    """Results for all N events of a sorted batch from those of the events that were ``used``.

    An event that was not used shows what the last one used before it left, or ``before`` (one row a group).
    """
    folded = np.cumsum(used)
    ahead: Ints = (folded[start] - used[start])[segment]
    seen = folded > ahead

    def spread(part: Array, initial: Array) -> Array:
        out = initial[segment]
        out[seen] = part[folded[seen] - 1]
        return out

    if isinstance(readout, dict) and isinstance(before, dict):
        return {name: spread(part, before[name]) for name, part in readout.items()}
    assert not isinstance(readout, dict)
    assert not isinstance(before, dict)
    return spread(readout, before)


def join(results: Sequence[Result], places: Ints) -> Result:
    """Results of several runs as one: row i of them all, one after the other, becomes row ``places[i]``."""
    if isinstance(results[0], np.ndarray):
        return put(np.concatenate([part for part in results if isinstance(part, np.ndarray)]), places)
    if isinstance(results[0], dict):
        named = [part for part in results if isinstance(part, dict)]
        return {name: put(np.concatenate([part[name] for part in named]), places) for name in named[0]}
    rows = [row for part in results for row in part]
    order = np.argsort(places, kind="stable")
    return [rows[i] for i in order.tolist()]
