"""The life of a task, in phases."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """Where a task is in its life."""

    WAITING = "waiting"
    FENCING = "fencing"
    RESTORING = "restoring"
    RUNNING = "running"
    PARKED = "parked"
    CLOSED = "closed"
