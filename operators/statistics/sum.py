"""The sum of all events of a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.columns.grouping import Floats, Ints
from operators.options import whole
from operators.statistics.total import Total


@dataclass(frozen=True, kw_only=True)
class Sum(Total):
    """The sum of a number, or of a vector element by element.

        s_n = s_{n-1} + x_n = x_1 + ... + x_n,  s_0 = 0

    Parameters: ``value``, the field; ``min_count``, how many events there must be for a result: if it is 0, the sum of
    none is 0.
    State: the count and a compensated sum, 1 + 2d numbers. What its roundings lost is kept beside the sum, so that it
    stays within one rounding of the exact one.
    Reference: Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
    """

    min_count: int = 0

    measure: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("min_count", self.min_count, "of events", at_least=0)

    def result(self, total: Floats, count: Ints) -> Floats:
        """The sum, where there are enough events."""
        total[count < self.min_count] = np.nan
        return total
