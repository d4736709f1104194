"""Work on read-outs without caring whether they are one array or named parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Ints
from operators.operator import Readout

Array = npt.NDArray[Any]


def each_part(readout: Readout, change: Callable[[Array], Array]) -> Readout:
    """Apply ``change`` to the array, or to each of its named parts."""
    if isinstance(readout, dict):
        return {name: change(part) for name, part in readout.items()}
    return change(readout)


def put(part: Array, places: Ints) -> Array:
    """An array whose row ``places[i]`` is row i of ``part``."""
    out = np.empty_like(part)
    out[places] = part
    return out
