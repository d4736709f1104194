"""Memories kept for each key, as pure folds over columns of numbers."""

from operators.count import Count
from operators.delta_rule import DeltaRule
from operators.ewma import Ewma
from operators.fifo import Fifo
from operators.gated_delta_rule import GatedDeltaRule
from operators.infini import Infini
from operators.kv_ewma import KvEwma
from operators.kv_mean import KvMean
from operators.kv_moving_mean import KvMovingMean
from operators.kv_weighted_moving_mean import KvWeightedMovingMean
from operators.kv_window import KvWindow
from operators.linear_attention import LinearAttention
from operators.mean import Mean
from operators.memory import Memory
from operators.moving_mean import MovingMean
from operators.operator import Operator, OperatorError
from operators.recurrent import recurrent
from operators.weighted_moving_mean import WeightedMovingMean

__all__ = [
    "TYPES",
    "Count",
    "DeltaRule",
    "Ewma",
    "Fifo",
    "GatedDeltaRule",
    "Infini",
    "KvEwma",
    "KvMean",
    "KvMovingMean",
    "KvWeightedMovingMean",
    "KvWindow",
    "LinearAttention",
    "Mean",
    "Memory",
    "MovingMean",
    "Operator",
    "OperatorError",
    "WeightedMovingMean",
    "recurrent",
]

TYPES: dict[str, type[Operator]] = {
    "count": Count,
    "mean": Mean,
    "moving_mean": MovingMean,
    "weighted_moving_mean": WeightedMovingMean,
    "ewma": Ewma,
    "kv_mean": KvMean,
    "kv_moving_mean": KvMovingMean,
    "kv_weighted_moving_mean": KvWeightedMovingMean,
    "kv_ewma": KvEwma,
    "kv_window": KvWindow,
    "fifo": Fifo,
    "infini": Infini,
    "linear_attention": LinearAttention,
    "gated_delta_rule": GatedDeltaRule,
    "delta_rule": DeltaRule,
}
"""The operators by the name that ``type`` has in a configuration."""
