"""What an operator asks of the numbers that events bring."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats


def refuse(role: str, numbers: Floats, valid: npt.NDArray[np.bool_], expected: str) -> None:
    """Raise ValueError, which keeps an event out of the memory, unless all of a role's numbers are valid."""
    if not valid.all():
        raise ValueError(f"{role}: found {numbers[~valid][0]}, expected {expected}")
