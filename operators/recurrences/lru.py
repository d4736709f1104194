"""The linear recurrent unit: a bank of damped oscillators that the input drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from operators.columns.grouping import Floats, Ints
from operators.columns.parallel_scan import Parts, scan
from operators.operator import Algebra, Batch, Field, FieldSpec, Layout, Operator, OperatorError, Readout, Shape, State
from operators.options import numbers, one_of

Complexes = npt.NDArray[np.complex128]

_MAGNITUDES = "a list of numbers above 0, below 1"
_PHASES = "a list of as many numbers as there are magnitudes, in radians"
_HALF = 134_217_729.0
"""2^27 + 1: what splits a number into two of half its digits (Veltkamp)."""


@dataclass(frozen=True, kw_only=True)
class Lru(Operator):
    """A bank of damped oscillators: how much of the number's recent course swings with each of some frequencies.

        h_i = lambda h_{i-1} + x_i,  lambda = r e^(i theta)

    Parameters: ``value``, x: a field with a number, or with a vector, element by element; ``magnitudes``, the r of each
    oscillator, between 0 and 1: what an event leaves of it; ``phases``, the theta, in radians an event: 2 pi / p for
    what repeats every p events, 0 (all, if left out) for what stays; ``part``, what is read: the "magnitude" |h|, the
    "real" or the "imag" part, or "both". The read-out is a list with one result an oscillator. An input that swings
    with theta makes |h| grow to 1 / (1 - r) times its size, others less.
    State: the count and h, 1 + 2 H d numbers of H oscillators.
    lambda^n is taken from the polar form, its angle to twice the usual number of digits, so that an oscillator is in
    phase after any number of events.
    Reference: Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, arXiv 2303.06349.
    """

    value: FieldSpec
    magnitudes: Sequence[float]
    phases: Sequence[float] | None = None
    part: Literal["magnitude", "real", "imag", "both"] = "magnitude"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("part", self.part, ("magnitude", "real", "imag", "both"))
        object.__setattr__(self, "magnitudes", numbers("magnitudes", self.magnitudes, _MAGNITUDES))
        if not all(0 < r < 1 for r in self.magnitudes):
            raise OperatorError("magnitudes", f"found {list(self.magnitudes)}, expected {_MAGNITUDES}")
        if self.phases is not None:
            object.__setattr__(self, "phases", numbers("phases", self.phases, _PHASES))
            if len(self.phases) != len(self.magnitudes):
                raise OperatorError("phases", f"found {len(self.phases)} numbers, expected {len(self.magnitudes)}")

    @property
    def algebra(self) -> Algebra:
        """Ordered: an oscillator turns on with every event."""
        return "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """The count, and the real and the imaginary part of every oscillator."""
        bank = (len(self.magnitudes), *shapes["value"])
        return Layout((Field("count", dtype="<i8"), Field("real", bank), Field("imag", bank)))

    def fold(self, state: State, batch: Batch, *, each: bool) -> Readout | None:
        """Drive the oscillators with the batch; what is read at each event."""
        groups, value = batch.groups, batch.columns["value"]
        powers = self._powers(np.arange(int(groups.count.max(initial=0)) + 1))
        driven = np.repeat(value[:, None], len(self.magnitudes), axis=1).astype(np.complex128)

        def follow(older: Parts, newer: Parts) -> Parts:
            return older[0] + newer[0], _spread(powers[newer[0]], newer[1]) * older[1] + newer[1]

        number, run = scan(groups, follow, (np.ones(len(value), np.int64), driven), each=each)
        old = _complex(state)
        now = _spread(powers[number], run) * (old[groups.segment] if each else old) + run
        last = now[groups.last] if each else now
        state["count"] += groups.count
        state["real"], state["imag"] = last.real, last.imag
        return self._read(now) if each else None

    def read(self, state: State, query: Floats | None = None) -> Readout:
        """The oscillators as they are; undefined before the first event."""
        bank = _complex(state)
        bank[state["count"] == 0] = complex(np.nan, np.nan)
        return self._read(bank)

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "real": [...], "imag": [...]}``."""
        names = ("count", "real", "imag")
        return [dict(zip(names, row, strict=True)) for row in zip(*(state[n].tolist() for n in names), strict=True)]

    def merge(self, state: State, other: State) -> None:
        """Turn the oscillators on by the other one's events, and add its own."""
        bank, more = _complex(state), _complex(other)
        merged = _spread(self._powers(other["count"]), bank) * bank + more
        state["real"], state["imag"] = merged.real, merged.imag
        state["count"] += other["count"]

    def _read(self, bank: Complexes) -> Readout:
        if self.part == "both":
            return {"real": bank.real, "imag": bank.imag}
        if self.part == "magnitude":
            return np.abs(bank)
        return bank.real if self.part == "real" else bank.imag

    def _powers(self, exponents: Ints) -> Complexes:
        """The powers lambda^n for exponents n (m,) below 2^26: (m, H).

        The product n theta is an angle and what was lost in rounding it, exactly (Dekker). Sine and cosine are right
        for any angle, and what was lost turns it by so little that the first order will do.
        """
        n, theta = exponents.astype(float)[:, None], self._angles
        upper = _HALF * theta - (_HALF * theta - theta)
        angle = n * theta
        lost = (n * upper - angle) + n * (theta - upper)
        size = np.exp(n * np.log(np.array(self.magnitudes)))
        turned: Complexes = size * np.exp(1j * angle) * (1.0 + 1j * lost)
        return turned

    @cached_property
    def _angles(self) -> Floats:
        return np.zeros(len(self.magnitudes)) if self.phases is None else np.array(self.phases, float)


def _complex(state: State) -> Complexes:
    bank: Complexes = state["real"] + 1j * state["imag"]
    return bank


def _spread(powers: Complexes, rows: npt.NDArray[Any]) -> Complexes:
    """Powers (n, H) in a shape that goes with rows (n, H, ...)."""
    return powers.reshape(powers.shape + (1,) * (rows.ndim - 2))
