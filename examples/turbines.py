"""Readings of four wind turbines as events, a JSON document a line.

python examples/turbines.py | streamfold send examples/turbines.toml readings -
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPEEDS = [1.5 * i for i in range(13)]
"""Wind speeds, in m/s, between which the power is taken to follow a straight line."""


def curve(wind: float) -> list[float]:
    """The shares of the two speeds beside the wind: 9.6 m/s is 0.6 of the way from 9 to 10.5, so [..., 0.6, 0.4, ...].

    A memory that is linear in these shares is a curve over the wind, made of straight lines.
    """
    return [max(0.0, round(1.0 - abs(wind - speed) / 1.5, 4)) for speed in SPEEDS]


def events() -> Iterator[dict[str, Any]]:
    """All readings in order of time."""
    with (Path(__file__).parent / "turbines.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                "turbine": row["turbine"],
                "time": row["time"],
                "power": float(row["power"]),
                "curve": curve(float(row["wind"])),
            }


if __name__ == "__main__":
    for event in events():
        print(json.dumps(event))
