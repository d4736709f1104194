"""Hypothesis, in rounds for as long as asked: each is drawn from a seed of its own."""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Protocol, cast

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS_EACH = 60
ROUND = 500
"""How many inputs a round tries."""


class Target(Protocol):
    """A module with something to check."""

    INPUTS: SearchStrategy[Any]
    ready: Callable[[], AbstractContextManager[Callable[[Any], None]]]
    """What checks an input, as long as it is wanted."""


def fuzz(name: str, minutes: float, first: int) -> None:
    """Check a target for some minutes; raises what the first input that is not right raises, made small."""
    target = cast("Target", importlib.import_module(f"tests.fuzz.{name}"))
    tried, rounds = 0, 0
    signal.signal(signal.SIGALRM, _late)
    with target.ready() as check:
        begin = time.monotonic()
        while (spent := time.monotonic() - begin) < 60 * minutes:
            number = first + rounds

            @seed(number)
            @settings(
                max_examples=ROUND,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )
            @given(target.INPUTS)
            def one_round(given: Any) -> None:
                nonlocal tried
                tried += 1
                signal.alarm(SECONDS_EACH)
                check(given)
                signal.alarm(0)

            print(f"\r{name}: seed {number}, {tried} inputs in {spent:.0f} s ", end="", flush=True)
            one_round()
            rounds += 1
    print(f"\r{name}: seeds {first} to {first + rounds - 1}, {tried} inputs in {spent:.0f} s, nothing found")


def _late(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {SECONDS_EACH} s")
