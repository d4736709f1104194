"""Find the hours when a turbine did not do what it should have, and draw them.

streamfold watch examples/turbines.toml turbine --from-start --limit 5760 | python -m examples.anomalies

Prints when which turbine stayed behind, and how much energy that cost; draws the scores of all turbines, and the worst
hours of the worst one. The score of a reading is the error of its prediction in standard deviations of that turbine's
errors before, a prediction counting for less where little is known (its leverage). The first day is for learning.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from operators import Memory, ZScore
from operators.columns.grouping import Floats
from scripts.drawing import COLOURS, Axis, Line, chart

DAY, HOUR, EVERY = 86_400.0, 3_600.0, 600.0
"""Seconds of a day, of an hour, and from one reading to the next."""

UNUSUAL, ENOUGH, PAUSE = -3.0, 3, 3 * HOUR
"""A score, how many readings with such a one are an anomaly, and how long it may look better in between."""


@dataclass(frozen=True)
class Readings:
    """What was published of each reading, by turbine: times (n,), power and its predictions in kW, and scores."""

    time: Floats
    power: Floats
    expected: Floats
    tracked: Floats
    score: Floats


@dataclass(frozen=True)
class Anomaly:
    """A turbine stayed behind, from one Unix time to the other; ``lost`` is energy in kWh, ``worst`` a score."""

    turbine: str
    begin: float
    end: float
    lost: float
    worst: float

    def __str__(self) -> str:
        begin, end = (datetime.fromtimestamp(at, UTC) for at in (self.begin, self.end))
        when = f"{begin:%d %B %H:%M} to {end:%d %B %H:%M}"
        return f"{self.turbine}  {when}  {self.lost:6.0f} kWh lost, score {self.worst:.1f}"


def read(lines: Iterable[str]) -> dict[str, Readings]:
    """The table's output records by turbine."""
    records = [json.loads(line) for line in lines]
    turbines = [record["key"] for record in records]
    time = np.array([record["time"] for record in records])
    expected, error, tracked = (
        np.array([record[name][part][0] for record in records])
        for name, part in (("expect", "value"), ("expect", "error"), ("track", "value"))
    )
    leverage = np.array([record["expect"]["leverage"] for record in records])
    memory = Memory(ZScore(value="error", min_count=int(DAY / EVERY)))
    score = np.asarray(memory.fold(turbines, {"error": error / np.sqrt(1.0 + leverage)}))
    columns = (time, expected + error, expected, tracked, score)
    own = {turbine: np.array(turbines) == turbine for turbine in sorted(set(turbines))}
    return {turbine: Readings(*(column[at] for column in columns)) for turbine, at in own.items()}


def anomalies(turbines: Mapping[str, Readings]) -> list[Anomaly]:
    """When turbines stayed behind, the greatest loss first."""
    found = []
    for turbine, readings in turbines.items():
        behind = np.flatnonzero(readings.score < UNUSUAL)
        for run in np.split(behind, 1 + np.flatnonzero(np.diff(readings.time[behind]) > PAUSE)):
            if len(run) >= ENOUGH:
                all_of_it = slice(run[0], run[-1] + 1)
                lost = (readings.expected - readings.power)[all_of_it].sum() * EVERY / HOUR
                begin, end = readings.time[run[0]], readings.time[run[-1]] + EVERY
                found.append(Anomaly(turbine, float(begin), float(end), float(lost), float(readings.score[run].min())))
    return sorted(found, key=lambda anomaly: -anomaly.lost)


def draw_scores(turbines: Mapping[str, Readings]) -> str:
    """The mean score of each hour."""
    begin = min(float(readings.time[0]) for readings in turbines.values())
    lines = []
    for (turbine, readings), colour in zip(turbines.items(), COLOURS, strict=False):
        hours = len(readings.time) // 6
        means = readings.score[: 6 * hours].reshape(hours, 6).mean(axis=1)
        lines.append(Line(turbine, list(zip((np.arange(hours) + 0.5) / 24, means.tolist(), strict=True)), colour))
    days = len(lines[0].points) / 24
    axes = Axis(f"days since {_date(begin)}", 0, days, range(int(days) + 1)), Axis("score", -12, 6, range(-12, 7, 3))
    return chart("How unusual each turbine's power is in its wind, hour by hour", *axes, lines)


def draw_power(turbine: str, readings: Readings, around: float) -> str:
    """A turbine's power and its two predictions, from twelve hours before a time to sixty after."""
    hours = (readings.time - around) / HOUR + 12
    shown = (hours >= 0) & (hours <= 72)
    curves = (
        ("predicted: ridge", readings.expected),
        ("predicted: gated delta", readings.tracked),
        ("produced", readings.power),
    )
    lines = [
        Line(name, list(zip(hours[shown].tolist(), power[shown].tolist(), strict=True)), colour)
        for (name, power), colour in zip(curves, COLOURS[1:], strict=False)
    ]
    axes = (
        Axis(f"hours since {_date(around - 12 * HOUR)}", 0, 72, range(0, 73, 12)),
        Axis("kW", -300, 2100, range(-300, 2101, 300)),
    )
    return chart(f"{turbine}: power, and what was predicted before it was known", *axes, lines, (12,))


def _date(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%d %B %Y, %H:%M}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Find anomalies in the output records on the standard input.")
    parser.add_argument("--into", type=Path, default=Path(), help="the folder that the charts are written to")
    args = parser.parse_args(arguments)
    turbines = read(sys.stdin)
    found = anomalies(turbines)
    for anomaly in found:
        print(anomaly)
    (args.into / "turbine-scores.svg").write_text(draw_scores(turbines), "utf-8")
    if found:
        worst = found[0]
        picture = draw_power(worst.turbine, turbines[worst.turbine], worst.begin)
        (args.into / "turbine-power.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
