"""Memories kept for each key, as pure folds over columns of numbers."""

from operators.count import Count
from operators.cov import Corr, Cov
from operators.cusum import Cusum
from operators.delta_rule import DeltaRule
from operators.ends import First, Last
from operators.event_rate import EventRate
from operators.ewma import Ewma
from operators.ewvar import Ewvar
from operators.extremes import Max, Min
from operators.fifo import Fifo
from operators.gated_delta_rule import GatedDeltaRule
from operators.gated_linear_attention import GatedLinearAttention
from operators.infini import Infini
from operators.kv_ewma import KvEwma
from operators.kv_mean import KvMean
from operators.kv_moving_mean import KvMovingMean
from operators.kv_weighted_moving_mean import KvWeightedMovingMean
from operators.kv_window import KvWindow
from operators.linear_attention import LinearAttention
from operators.lru import Lru
from operators.mean import Mean
from operators.memory import Memory
from operators.mlstm import Mlstm
from operators.moving_mean import MovingMean, MovingSum
from operators.moving_min import MovingMax, MovingMin
from operators.moving_var import MovingStd, MovingVar
from operators.operator import Operator, OperatorError
from operators.quantile import Quantile
from operators.recurrent import recurrent
from operators.retention import Retention
from operators.ridge import Ridge
from operators.rwkv import Rwkv
from operators.sum import Sum
from operators.time_weighted_mean import TimeWeightedMean
from operators.var import Std, Var
from operators.weighted_mean import WeightedMean
from operators.weighted_moving_mean import WeightedMovingMean
from operators.zscore import ZScore

__all__ = [
    "TYPES",
    "Corr",
    "Count",
    "Cov",
    "Cusum",
    "DeltaRule",
    "EventRate",
    "Ewma",
    "Ewvar",
    "Fifo",
    "First",
    "GatedDeltaRule",
    "GatedLinearAttention",
    "Infini",
    "KvEwma",
    "KvMean",
    "KvMovingMean",
    "KvWeightedMovingMean",
    "KvWindow",
    "Last",
    "LinearAttention",
    "Lru",
    "Max",
    "Mean",
    "Memory",
    "Min",
    "Mlstm",
    "MovingMax",
    "MovingMean",
    "MovingMin",
    "MovingStd",
    "MovingSum",
    "MovingVar",
    "Operator",
    "OperatorError",
    "Quantile",
    "Retention",
    "Ridge",
    "Rwkv",
    "Std",
    "Sum",
    "TimeWeightedMean",
    "Var",
    "WeightedMean",
    "WeightedMovingMean",
    "ZScore",
    "recurrent",
]

TYPES: dict[str, type[Operator]] = {
    "count": Count,
    "sum": Sum,
    "mean": Mean,
    "weighted_mean": WeightedMean,
    "var": Var,
    "std": Std,
    "zscore": ZScore,
    "min": Min,
    "max": Max,
    "first": First,
    "last": Last,
    "cov": Cov,
    "corr": Corr,
    "moving_mean": MovingMean,
    "moving_sum": MovingSum,
    "moving_min": MovingMin,
    "moving_max": MovingMax,
    "moving_var": MovingVar,
    "moving_std": MovingStd,
    "weighted_moving_mean": WeightedMovingMean,
    "ewma": Ewma,
    "quantile": Quantile,
    "ewvar": Ewvar,
    "event_rate": EventRate,
    "time_weighted_mean": TimeWeightedMean,
    "cusum": Cusum,
    "kv_mean": KvMean,
    "kv_moving_mean": KvMovingMean,
    "kv_weighted_moving_mean": KvWeightedMovingMean,
    "kv_ewma": KvEwma,
    "kv_window": KvWindow,
    "fifo": Fifo,
    "infini": Infini,
    "linear_attention": LinearAttention,
    "retention": Retention,
    "gated_linear_attention": GatedLinearAttention,
    "mlstm": Mlstm,
    "rwkv": Rwkv,
    "lru": Lru,
    "gated_delta_rule": GatedDeltaRule,
    "ridge": Ridge,
    "delta_rule": DeltaRule,
}
"""The operators by the name that ``type`` has in a configuration."""
