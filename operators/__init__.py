"""Memories kept for each key, as pure folds over columns of numbers."""

from operators.count import Count
from operators.mean import Mean
from operators.operator import Operator, OperatorError

__all__ = ["TYPES", "Count", "Mean", "Operator", "OperatorError"]

TYPES: dict[str, type[Operator]] = {"count": Count, "mean": Mean}
"""The operators by the name that ``type`` has in a configuration."""
