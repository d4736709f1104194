"""The example with the wind turbines: its readings, its events, and the score that it gives them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from examples.anomalies import EVERY, Readings, anomalies, draw_power, read
from examples.turbines import SPEEDS, curve, events
from pipeline.core.config.load import load
from tests.test_examples import undecodable

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_readings_are_a_small_and_whole_slice_with_an_attribution() -> None:
    assert len((EXAMPLES / "turbines.csv").read_bytes()) < 300_000
    text = (EXAMPLES / "ATTRIBUTION.md").read_text("utf-8")
    assert "Open Licence 2.0" in text
    assert "ENGIE" in text
    with (EXAMPLES / "turbines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(Counter(row["turbine"] for row in rows).values()) == {10 * 24 * 6}
    times = sorted({datetime.fromisoformat(row["time"]) for row in rows})
    assert {after - before for before, after in pairwise(times)} == {timedelta(seconds=EVERY)}
    assert all(0 <= float(row["wind"]) <= SPEEDS[-1] for row in rows)


def test_the_events_fit_the_stream() -> None:
    app = load(EXAMPLES / "turbines.toml", {})
    assert app.streams["readings"].vectors == {"curve": len(SPEEDS)}
    assert undecodable(app, app.streams["readings"], list(events())) == []


def test_a_curve_is_made_of_straight_lines() -> None:
    for wind in np.linspace(0, SPEEDS[-1], 50):
        shares = curve(float(wind))
        assert sum(shares) == pytest.approx(1.0, abs=2e-4)
        assert np.dot(shares, SPEEDS) == pytest.approx(wind, abs=2e-3)
    assert curve(9.0) == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_the_producer_prints_a_document_a_line() -> None:
    printed = subprocess.run(
        [sys.executable, str(EXAMPLES / "turbines.py")], capture_output=True, text=True, check=True, timeout=60
    )
    assert [json.loads(line) for line in printed.stdout.splitlines()] == list(events())


def record(turbine: str, time: float, error: float, leverage: float) -> str:
    expect = {"value": [100.0], "error": [error], "leverage": leverage}
    return json.dumps({"key": turbine, "time": time, "expect": expect, "track": {"value": [90.0], "error": [error]}})


def test_a_score_is_an_error_in_standard_deviations_and_less_where_little_is_known() -> None:
    usual = [record("a", EVERY * i, 10.0 if i % 2 else -10.0, 0.0) for i in range(144)]
    lines = [*usual, record("a", 0.0, -50.0, 0.0), record("b", 0.0, 7.0, 0.0)]
    deviation = np.std([10.0, -10.0] * 72, ddof=1)
    for leverage in (0.0, 3.0):
        turbines = read([*lines[:144], record("a", 0.0, -50.0, leverage), lines[145]])
        assert turbines["a"].score[-1] == pytest.approx(-50.0 / deviation / np.sqrt(1.0 + leverage))
    assert np.isnan(turbines["a"].score[:144]).all()
    assert np.isnan(turbines["b"].score).all()
    assert turbines["a"].power[-1] == 50.0


def test_readings_behind_are_one_anomaly_while_they_are_close() -> None:
    score = np.zeros(200)
    score[[10, 11, 13, 100, 150, 190, 191, 192]] = -4.0
    score[11] = -9.0
    time = np.asarray(EVERY * np.arange(200), float)
    turbine = Readings(time, np.full(200, 40.0), np.full(200, 100.0), np.zeros(200), score)
    late, early = anomalies({"x": turbine})[::-1]
    assert (early.begin, early.end, early.worst) == (10 * EVERY, 14 * EVERY, -9.0)
    assert early.lost == pytest.approx(4 * 60.0 / 6)
    assert late.begin == 190 * EVERY
    assert late.lost == pytest.approx(30.0)
    assert anomalies({"x": Readings(time, time, time, time, np.full(200, np.nan))}) == []
    drawn = ElementTree.fromstring(draw_power("x", turbine, early.begin))
    assert [element.text for element in drawn.iter() if element.text and element.text.startswith("x: power")]
