"""Folds batches as a worker does: group, gather, fold, look for overflow, put back."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from bench.operators.subjects import SHAPES
from operators import Operator
from operators.columns.grouping import Floats, Ints
from pipeline.core.batch import Events
from pipeline.core.memory import Memory
from pipeline.core.readout import Result
from pipeline.core.run import Attempt, Run


class Engine:
    """The memory that one operator keeps of so many keys, each known by its row."""

    def __init__(self, operator: Operator, keys: int) -> None:
        shapes = {role: _shape(fields) for role, fields in operator.inputs().items()}
        self.memory = Memory(operator, shapes)
        self.memory.reserve(keys)

    def fold(
        self, rows: Ints, columns: Mapping[str, Floats], times: Floats, *, each: bool
    ) -> tuple[float, Result | None]:
        """Fold a batch; CPU seconds that it took, and each event's result if asked for."""
        events = Events(np.arange(len(rows)), [b""] * len(rows), np.arange(len(rows)), times, dict(columns))
        index = np.arange(len(rows))
        begin = time.process_time()
        with np.errstate(all="ignore"):
            attempt = Attempt(Run(events, index, rows))
            attempt.fold("result", self.memory, None, each=each)
            if attempt.trouble is not None:
                raise RuntimeError(": ".join(attempt.trouble))
            attempt.accept()
        return time.process_time() - begin, attempt.results.get("result")


def _shape(fields: str | tuple[str, ...]) -> tuple[int, ...]:
    return SHAPES[fields] if isinstance(fields, str) else (len(fields),)
