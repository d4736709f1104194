"""Memories kept for each key, as pure folds over columns of numbers."""

from operators.decays.event_rate import EventRate
from operators.decays.ewma import Ewma
from operators.decays.ewvar import Ewvar
from operators.decays.time_weighted_mean import TimeWeightedMean
from operators.matrices.delta_rule import DeltaRule
from operators.matrices.gated_delta_rule import GatedDeltaRule
from operators.matrices.gated_linear_attention import GatedLinearAttention
from operators.matrices.linear_attention import LinearAttention
from operators.matrices.mlstm import Mlstm
from operators.matrices.retention import Retention
from operators.matrices.ridge import Ridge
from operators.memory import Memory
from operators.operator import Operator, OperatorError
from operators.pairs.fifo import Fifo
from operators.pairs.infini import Infini
from operators.pairs.kv_ewma import KvEwma
from operators.pairs.kv_mean import KvMean
from operators.pairs.kv_moving_mean import KvMovingMean
from operators.pairs.kv_weighted_moving_mean import KvWeightedMovingMean
from operators.pairs.kv_window import KvWindow
from operators.recurrences.lru import Lru
from operators.recurrences.recurrent import recurrent
from operators.recurrences.rwkv import Rwkv
from operators.statistics.count import Count
from operators.statistics.cov import Corr, Cov
from operators.statistics.cusum import Cusum
from operators.statistics.ends import First, Last
from operators.statistics.extremes import Max, Min
from operators.statistics.mean import Mean
from operators.statistics.quantile import Quantile
from operators.statistics.sum import Sum
from operators.statistics.var import Std, Var
from operators.statistics.weighted_mean import WeightedMean
from operators.statistics.zscore import ZScore
from operators.windows.moving_mean import MovingMean, MovingSum
from operators.windows.moving_min import MovingMax, MovingMin
from operators.windows.moving_var import MovingStd, MovingVar
from operators.windows.weighted_moving_mean import WeightedMovingMean

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
