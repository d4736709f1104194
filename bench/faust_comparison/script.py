"""What is done to the workers, and when: the same for all who are compared, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Kind = Literal["kill -9", "TERM", "pause"]

WORKERS = 2
FAULTS: tuple[Kind, ...] = ("kill -9", "kill -9", "TERM", "pause", "kill -9")
_QUIET_SECONDS = 6.0
_APART_SECONDS = (11.0, 14.0)


@dataclass(frozen=True)
class Step:
    """A fault: so many seconds after the load began, to this worker."""

    at: float
    kind: Kind
    worker: int


def script(seed: int) -> tuple[list[Step], float]:
    """The faults of a seed, in order, and for how many seconds there is load."""
    draw = random.Random(seed)
    kinds = draw.sample(FAULTS, len(FAULTS))
    steps, at = [], _QUIET_SECONDS
    for kind in kinds:
        steps.append(Step(round(at, 1), kind, draw.randrange(WORKERS)))
        at += draw.uniform(*_APART_SECONDS)
    return steps, round(at, 1)
