"""Feature maps phi of linear attention: k' = phi(k), q' = phi(q)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from operators.grouping import Floats

FeatureMap = Callable[[Floats], Floats]
"""From keys (N, d) to features (N, d')."""


def identity(x: Floats) -> Floats:
    """The key itself: signed, so that q'nu may be 0 or small against its terms."""
    return x


def elu1(x: Floats) -> Floats:
    """elu(x) + 1: x + 1 above 0, e^x below; always positive (Katharopoulos et al. 2020, arXiv 2006.16236)."""
    return np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0)))


def relu(x: Floats) -> Floats:
    """max(x, 0): sparse, so that keys of different signs don't meet."""
    return np.maximum(x, 0.0)


def relu2(x: Floats) -> Floats:
    """max(x, 0)^2: as relu, with more weight on what is alike."""
    return np.square(np.maximum(x, 0.0))


FeatureMapName = Literal["identity", "elu1", "relu", "relu2"]

FEATURE_MAPS: dict[FeatureMapName, FeatureMap] = {"identity": identity, "elu1": elu1, "relu": relu, "relu2": relu2}
"""The feature maps by the name that ``feature_map`` has in a configuration."""
