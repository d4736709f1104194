"""The same memories by a Python loop over the events: what a program does that has no columns.

A loop starts where the engine's fold does, with the row of each event's key, and keeps its state by row: numbers in
lists, matrices in arrays. It is written out for this one memory, and sums as Python does. What a program looks like
that takes any memory is in :mod:`bench.operators.records`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.columns.grouping import Floats, Ints


@dataclass(frozen=True)
class Events:
    """What a loop goes over: the row of each event's key, its inputs, and its time in seconds."""

    rows: Sequence[int]
    x: Sequence[float]
    w: Sequence[float]
    g: Sequence[float]
    k: Floats
    v: Floats
    a: Floats
    times: Sequence[float]

    @classmethod
    def of(cls, rows: Ints, columns: Mapping[str, Floats], times: Floats) -> Events:
        """Numbers as lists, as a program without columns has them; vectors as rows of an array."""
        inputs: dict[str, Any] = {
            name: column if column.ndim > 1 else column.tolist() for name, column in columns.items()
        }
        return cls(rows=rows.tolist(), times=times.tolist(), **inputs)


Loop = Callable[[Events, bool], list[Any]]
"""Folds events; with the flag it returns the result of each, without it an empty list."""


def mean(keys: int) -> Loop:
    """Count and sum."""
    counts, sums = [0] * keys, [0.0] * keys

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, x in zip(events.rows, events.x, strict=True):
            counts[row] += 1
            sums[row] += x
            if each:
                results.append(sums[row] / counts[row])
        return results

    return fold


def weighted_mean(keys: int) -> Loop:
    """Sums of weights and of weighted inputs."""
    sums, weights = [0.0] * keys, [0.0] * keys

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, x, w in zip(events.rows, events.x, events.w, strict=True):
            sums[row] += w * x
            weights[row] += w
            if each:
                results.append(sums[row] / weights[row])
        return results

    return fold


def ewma(keys: int, alpha: float) -> Loop:
    """Decayed sums of inputs and of ones."""
    sums, weights, kept = [0.0] * keys, [0.0] * keys, 1.0 - alpha

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, x in zip(events.rows, events.x, strict=True):
            sums[row] = kept * sums[row] + x
            weights[row] = kept * weights[row] + 1.0
            if each:
                results.append(sums[row] / weights[row])
        return results

    return fold


def timed_ewma(keys: int, half_life: float) -> Loop:
    """Sums that decay with time; an event that comes late is decayed instead of them."""
    sums, weights, newest = [0.0] * keys, [0.0] * keys, [-math.inf] * keys

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, x, time in zip(events.rows, events.x, events.times, strict=True):
            gap = time - newest[row]
            if gap >= 0:
                kept, weight, newest[row] = 2.0 ** (-gap / half_life), 1.0, time
            else:
                kept, weight = 1.0, 2.0 ** (gap / half_life)
            sums[row] = kept * sums[row] + weight * x
            weights[row] = kept * weights[row] + weight
            if each:
                results.append(sums[row] / weights[row])
        return results

    return fold


def moving_mean(keys: int, window: int) -> Loop:
    """A queue and its sum."""
    queues: list[deque[float]] = [deque() for _ in range(keys)]
    sums = [0.0] * keys

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, x in zip(events.rows, events.x, strict=True):
            queue = queues[row]
            queue.append(x)
            sums[row] += x - queue.popleft() if len(queue) > window else x
            if each:
                results.append(sums[row] / len(queue))
        return results

    return fold


def linear_attention(keys: int, size: int) -> Loop:
    """The matrix mu and the vector nu of keys' features elu + 1."""
    mu, nu = np.zeros((keys, size, size)), np.zeros((keys, size))

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, k, v in zip(events.rows, events.k, events.v, strict=True):
            feature = np.where(k > 0, k + 1.0, np.exp(np.minimum(k, 0.0)))
            mu[row] += feature[:, None] * v
            nu[row] += feature
            if each:
                results.append(feature @ mu[row] / (feature @ nu[row]))
        return results

    return fold


def retention(keys: int, size: int, gamma: float) -> Loop:
    """A matrix that decays with every event."""
    memory = np.zeros((keys, size, size))

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, k, v in zip(events.rows, events.k, events.v, strict=True):
            memory[row] *= gamma
            memory[row] += k[:, None] * v
            if each:
                results.append(k @ memory[row])
        return results

    return fold


def gated_linear_attention(keys: int, size: int) -> Loop:
    """A matrix each row of which decays as the event says."""
    memory = np.zeros((keys, size, size))

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, k, v, a in zip(events.rows, events.k, events.v, events.a, strict=True):
            memory[row] *= a[:, None]
            memory[row] += k[:, None] * v
            if each:
                results.append(k @ memory[row])
        return results

    return fold


def mlstm(keys: int, size: int) -> Loop:
    """A matrix and a vector, kept divided by e^scale; the values have a 1 behind, which makes the vector a column."""
    memory, scales = np.zeros((keys, size, size + 1)), [-math.inf] * keys

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, k, v, x, g in zip(events.rows, events.k, events.v, events.x, events.g, strict=True):
            kept = math.log(g) + scales[row]
            scales[row] = scale = max(kept, x)
            memory[row] *= math.exp(kept - scale)
            memory[row] += math.exp(x - scale) * k[:, None] * np.append(v, 1.0)
            if each:
                read = k @ memory[row]
                results.append(read[:-1] / max(abs(read[-1]), math.exp(-scale)))
        return results

    return fold


def delta_rule(keys: int, size: int, rate: float, gamma: float = 1.0) -> Loop:
    """A matrix that is corrected by its error, and may decay before."""
    memory = np.zeros((keys, size, size))

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, k, v in zip(events.rows, events.k, events.v, strict=True):
            if gamma != 1.0:
                memory[row] *= gamma
            memory[row] += (rate / (k @ k) * k)[:, None] * (v - k @ memory[row])
            if each:
                results.append(k @ memory[row])
        return results

    return fold


def ridge(keys: int, size: int, l2: float) -> Loop:
    """The sums of k'k and k'v; what is read is solved for, and beside it the leverage."""
    products, mixed, penalty = np.zeros((keys, size, size)), np.zeros((keys, size, size)), l2 * np.eye(size)

    def fold(events: Events, each: bool) -> list[Any]:
        results = []
        for row, k, v in zip(events.rows, events.k, events.v, strict=True):
            products[row] += k[:, None] * k
            mixed[row] += k[:, None] * v
            if each:
                sides = np.concatenate([mixed[row], k[:, None]], axis=1)
                results.append(k @ np.linalg.solve(products[row] + penalty, sides))
        return results

    return fold
