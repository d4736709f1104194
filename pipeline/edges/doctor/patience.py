"""Coordinators of groups and transactions: in a new cluster they are only made by the first question."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.edges.kafka.errors import Unreachable

T = TypeVar("T")

_SECONDS = 15.0
_AGAIN_SECONDS = 0.3


def patiently(ask: Callable[[], T]) -> T:
    """What a coordinator answers. Raises `Unreachable` if there is none for a while."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return ask()
        except Unreachable:
            if time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_SECONDS)
