"""The mean of all events of a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from operators.columns.arithmetic import divide
from operators.columns.grouping import Floats, Ints
from operators.statistics.total import Total


@dataclass(frozen=True, kw_only=True)
class Mean(Total):
    """The cumulative mean of a number, or of a vector element by element.

        m_n = m_{n-1} + (x_n - m_{n-1}) / n = (x_1 + ... + x_n) / n

    Parameters: ``value``, the field.
    State: the count and a compensated sum, 1 + 2d numbers. The recursion drifts (1e-8 after 1e9 events); the sum, with
    what its roundings lost kept beside it, stays within one rounding of the exact mean.
    Reference: Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
    """

    measure: ClassVar[str] = "mean"

    def result(self, total: Floats, count: Ints) -> Floats:
        """The sum over the count."""
        return divide(total, count)
