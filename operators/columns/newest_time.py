"""The newest event time of each key: what is now, for a memory that decays."""

from __future__ import annotations

import numpy as np

from operators.columns.grouping import Floats
from operators.columns.scan import running
from operators.operator import Batch, State


def pass_time(state: State, batch: Batch) -> tuple[Floats, Floats]:
    """The newest time of its key before and after each event, (N,) both; moves the state's ``time`` on.

    Before the first event of all it is that event's own. A late event leaves it as it is.
    """
    groups = batch.groups
    start = np.where(state["count"] > 0, state["time"], batch.time[groups.start])
    after = running(np.maximum, groups, start, batch.time)
    before = np.concatenate([after[:1], after[:-1]])
    before[groups.start] = start
    state["time"] = after[groups.last]
    return before, after
