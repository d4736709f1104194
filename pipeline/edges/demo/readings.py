"""Hourly weather readings, replayed faster than they were taken; an empty cell is a gap."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

_TEXT = ("origin", "time_hour")


def read() -> list[dict[str, Any]]:
    """The readings of ``weather.csv`` in order of time; a field that was not measured is absent."""
    text = (files("pipeline.edges.demo") / "data" / "weather.csv").read_text("utf-8")
    return [
        {name: cell if name in _TEXT else float(cell) for name, cell in row.items() if cell}
        for row in csv.DictReader(text.splitlines())
    ]


def replay() -> Iterator[dict[str, Any]]:
    """The readings over and over, each round later by their span, so that time only moves forward."""
    readings = read()
    times = [datetime.fromisoformat(reading["time_hour"]) for reading in readings]
    span = times[-1] - times[0] + timedelta(hours=1)
    late = timedelta(0)
    while True:
        for reading, time in zip(readings, times, strict=True):
            yield {**reading, "time_hour": f"{(time + late).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        late += span
