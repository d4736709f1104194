"""Feature maps phi of linear attention: k' = phi(k), q' = phi(q), so that q' . k' says how much alike q and k are."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Literal

import numpy as np

from operators.columns.grouping import Floats
from operators.options import OperatorError, one_of, whole

FeatureMap = Callable[[Floats], Floats]
"""From keys (N, d) to features (N, d')."""

_LARGEST = 1e150
"""A key beyond this has no random feature but 0, and its square would overflow."""


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


def taylor2(x: Floats) -> Floats:
    """1 + d + d (d + 1) / 2 features with q' . k' = 1 + q . k + (q . k)^2 / 2: near e^(q . k), and at least 1/2.

    The second order of the Taylor series (Arora et al. 2024, arXiv 2402.18668), each product of two elements once.
    """
    i, j = np.triu_indices(x.shape[1])
    squares = x[:, i] * x[:, j] * np.where(i == j, math.sqrt(0.5), 1.0)
    return np.concatenate([np.ones((len(x), 1)), x, squares], axis=1)


def favor(x: Floats, features: int = 64, seed: int = 0) -> Floats:
    """e^(w . x - |x|^2 / 2) / sqrt(m) for m random w: positive features whose q' . k' is e^(q . k) on average.

    The directions are orthogonal in sets of d, which makes the average closer (Choromanski et al. 2020, arXiv
    2009.14794). Keys should have lengths of about 1: the variance grows with e^(|q + k|^2).
    """
    x = np.clip(x, -_LARGEST, _LARGEST)
    exponent = x @ _directions(features, x.shape[1], seed) - 0.5 * np.square(x).sum(axis=1, keepdims=True)
    positive: Floats = np.exp(exponent) / math.sqrt(features)
    return positive


def dpfp(x: Floats, nu: int = 1) -> Floats:
    """2 d nu features: r = relu([x, -x]) times itself shifted by 1 to nu places; sparse and positive.

    Deterministic parameter-free projection (Schlag, Irie and Schmidhuber 2021, arXiv 2102.11174): with nu up to 2 d - 1
    more keys fit in without touching each other.

    Raises:
        OperatorError: nu is greater than that.
    """
    if nu >= 2 * x.shape[1]:
        raise OperatorError("nu", f"found {nu}, expected at most {2 * x.shape[1] - 1} for keys of {x.shape[1]} numbers")
    r = np.maximum(np.concatenate([x, -x], axis=1), 0.0)
    return np.concatenate([r * np.roll(r, shift, axis=1) for shift in range(1, nu + 1)], axis=1)


FeatureMapName = Literal["identity", "elu1", "relu", "relu2", "taylor2", "favor", "dpfp"]

FEATURE_MAPS: dict[FeatureMapName, FeatureMap] = {
    "identity": identity,
    "elu1": elu1,
    "relu": relu,
    "relu2": relu2,
    "taylor2": taylor2,
    "favor": favor,
    "dpfp": dpfp,
}
"""The feature maps by the name that ``feature_map`` has in a configuration."""

_PARAMETERS = {"features": ("favor", 1, None), "seed": ("favor", 0, 2**32 - 1), "nu": ("dpfp", 1, None)}
"""What some feature maps take besides the keys: of which, and from what to what."""


def feature_map(name: FeatureMapName, **parameters: int | None) -> FeatureMap:
    """The feature map of that name, with its own parameters, or what it takes itself for those that are None.

    Raises:
        OperatorError: there is no such map, or it has no such parameter.
    """
    one_of("feature_map", name, tuple(FEATURE_MAPS))
    given = {parameter: value for parameter, value in parameters.items() if value is not None}
    for parameter, value in given.items():
        owner, at_least, at_most = _PARAMETERS[parameter]
        if name != owner:
            raise OperatorError(parameter, f'found it beside feature_map = "{name}", expected it beside "{owner}"')
        whole(parameter, value, f"for {owner}", at_least=at_least, at_most=at_most)
    return partial(FEATURE_MAPS[name], **given)


@cache
def _directions(features: int, d: int, seed: int) -> Floats:
    """The random directions w as columns, (d, m): normally distributed, in sets of d that are orthogonal.

    RandomState is the generator whose numbers NumPy has promised never to change: states must outlive its versions.
    """
    random = np.random.RandomState(seed)
    sets = []
    for _ in range(-(-features // d)):
        q, r = np.linalg.qr(random.standard_normal((d, d)))
        lengths = np.sqrt(np.square(random.standard_normal((d, d))).sum(axis=0))
        sets.append(q * (np.where(np.diagonal(r) < 0, -1.0, 1.0) * lengths))
    return np.ascontiguousarray(np.concatenate(sets, axis=1)[:, :features])
