"""What the moving statistics have in common: their windows, and the options that choose one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from operators.columns.grouping import Floats
from operators.duration import length
from operators.operator import Algebra, Batch, FieldSpec, Layout, Operator, OperatorError, Shape, State
from operators.options import one_of, whole
from operators.windows.aggregate import Parts, spread
from operators.windows.event_window import EventWindow, Sliding
from operators.windows.pane_window import PaneWindow
from operators.windows.time_window import TimeWindow
from operators.windows.window import MICROSECONDS, ClockWindow, Window

_PANES = 60
_MOST_PANES = 1_000
_LONGEST = 36_500 * 86_400.0
"""Seconds: with all panes whole numbers of microseconds still fit 64 bits."""


@dataclass(frozen=True, kw_only=True)
class Moving(Operator):
    """A statistic of the window that ends at each event, by their number or by event time.

    Subclasses say what a window comes down to, their ``aggregate``, and what is read from that.
    """

    value: FieldSpec
    window: int | str
    min_count: int = 1
    closed: Literal["right", "both"] = "right"
    panes: int | None = None
    max_events: int | None = None

    aggregate: ClassVar[Sliding]

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("closed", self.closed, ("right", "both"))
        if isinstance(self.window, str):
            self._check_time()
            return
        whole("window", self.window, "of events")
        whole("min_count", self.min_count, "of events", at_most=self.window)
        for option in ("closed", "panes", "max_events"):
            if (given := getattr(self, option)) != getattr(type(self), option):
                message = f'found {given!r} beside a window of events, expected it beside a duration such as "5m"'
                raise OperatorError(option, message)

    def _check_time(self) -> None:
        if not 1 / MICROSECONDS <= length("window", self.window) <= _LONGEST:
            raise OperatorError("window", f"found {self.window!r}, expected a duration from 0.001ms to 36500d")
        if self.panes is not None:
            whole("panes", self.panes, "of panes", at_most=_MOST_PANES)
        if self.max_events is not None:
            whole("max_events", self.max_events, "of events")
            if self.panes is not None:
                raise OperatorError("max_events", "found panes and max_events, expected at most one of them")
        whole("min_count", self.min_count, "of events", at_most=self.max_events)

    @property
    def algebra(self) -> Algebra:
        """Panes are a monoid; windows of raw inputs go by the order of arrival."""
        return "monoid" if isinstance(self._window, PaneWindow) else "ordered"

    def layout(self, shapes: Mapping[str, Shape]) -> Layout:
        """What the window needs."""
        return self._window.layout(shapes["value"])

    def fold(self, state: State, batch: Batch, *, each: bool) -> Floats | None:
        """Move the window over the batch; its statistic after each event."""
        parts = self._window.fold(state, batch, each=each)
        return None if parts is None else self._result(parts)

    def read(self, state: State, query: Floats | None = None) -> Floats:
        """The statistic of the window."""
        return self._result(self._window.read(state))

    def export(self, state: State) -> Sequence[Mapping[str, object]]:
        """``{"count": n, "window": [oldest, ..., newest]}``; by time also how many events came too late."""
        return self._window.export(state)

    def merge(self, state: State, other: State) -> None:
        """Put the windows together."""
        if isinstance(self._window, ClockWindow):
            self._window.merge(state, other)
        else:
            super().merge(state, other)

    @abstractmethod
    def statistic(self, parts: Parts) -> Floats:
        """What is read from what windows come down to, (n, ...)."""

    @cached_property
    def _window(self) -> Window:
        if not isinstance(self.window, str):
            return EventWindow(self.aggregate, self.window)
        span, both = round(length("window", self.window) * MICROSECONDS), self.closed == "both"
        if self.max_events is not None:
            return TimeWindow(self.aggregate, span + both, self.max_events)
        return PaneWindow(self.aggregate, span, _PANES if self.panes is None else self.panes, both)

    def _result(self, parts: Parts) -> Floats:
        """The statistic where there are enough inputs."""
        result = self.statistic(parts)
        return np.where(spread(parts[0] >= self.min_count, result), result, np.nan)
