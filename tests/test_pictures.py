"""The pictures are those that would be drawn now, and show what the page around them says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from operators import DeltaRule, LinearAttention
from scripts.drawing import Axis, Line, bars, chart, dots, number
from scripts.drawing import Bars as Row
from scripts.pictures import FOLDER, PICTURES, asked, influence, regime, size

pytestmark = pytest.mark.docs

NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")


@pytest.mark.parametrize(("name", "draw"), PICTURES.items(), ids=PICTURES)
def test_a_picture_is_what_make_reference_would_draw(name: str, draw: Callable[[], str]) -> None:
    committed, drawn = (FOLDER / name).read_text("utf-8"), draw()
    assert NUMBERS.sub("", committed) == NUMBERS.sub("", drawn), "run `make reference`"
    # A last digit may differ from machine to machine; a tenth of a pixel is not seen.
    pairs = zip(NUMBERS.findall(committed), NUMBERS.findall(drawn), strict=True)
    assert max(abs(float(one) - float(other)) for one, other in pairs) < 0.25, "run `make reference`"


def test_the_influences_are_those_of_the_formulas() -> None:
    found = {name.split()[0]: influence.influence(operator) for name, operator in influence.OPERATORS.items()}
    window, age = influence.WINDOW, np.arange(influence.EVENTS)
    np.testing.assert_allclose(found["mean"], 1 / influence.EVENTS)
    np.testing.assert_allclose(found["moving"], np.where(age < window, 1 / window, 0), atol=1e-15)
    np.testing.assert_allclose(found["weighted"], np.maximum(window - age, 0) / (window * (window + 1) / 2), atol=1e-15)
    weights = 0.92**age
    np.testing.assert_allclose(found["ewma,"], weights / weights.sum(), rtol=1e-12)


def test_the_shares_of_the_answer() -> None:
    alike = np.array(asked.situations()) == asked.ASKED
    shares = {name.split(":")[0]: asked.shares(operator) for name, operator in asked.OPERATORS.items()}
    np.testing.assert_allclose(shares["kv_mean"], 1 / asked.EVENTS)
    np.testing.assert_allclose(shares["linear_attention"], alike / alike.sum(), atol=1e-15)
    for name, share in shares.items():
        if name != "kv_mean":
            assert share[~alike].max() < 1e-5
    assert shares["kv_window"][: asked.EVENTS // 2].max() == 0
    newest = shares["delta_rule"][alike][::-1]
    np.testing.assert_allclose(newest, 0.6 * 0.4 ** np.arange(alike.sum()), rtol=1e-12)


def test_the_delta_rule_learns_what_the_others_can_not() -> None:
    keys, values = regime.stream()
    parts = {"before": slice(1000, 1500), "at": slice(1500, 1505), "after": slice(1600, 1700)}
    rms = {}
    for name, operator in regime.OPERATORS.items():
        squares = regime.errors(operator, keys, values) ** 2
        rms[name.split(",")[0]] = {
            part: float(np.sqrt(np.nanmean(squares[:, events]))) for part, events in parts.items()
        }
    for name in ("mean", "ewma", "linear_attention", "kv_window"):
        assert rms[name]["before"] > 15 * regime.NOISE
    assert rms["delta_rule"]["before"] < 1.2 * regime.NOISE
    assert rms["delta_rule"]["at"] > 20 * regime.NOISE
    assert rms["delta_rule"]["after"] < 1.5 * regime.NOISE
    assert rms["ridge"]["before"] < rms["delta_rule"]["before"]
    assert rms["ridge"]["after"] > rms["delta_rule"]["after"]


def test_a_memory_is_smaller_than_its_pairs_from_some_number_on() -> None:
    for operator in (LinearAttention(key="key", value="value"), DeltaRule(key="key", value="value", rate=0.3)):
        few, many = size.nbytes(operator, [1, 1_000])
        assert few == many
        assert few < 1_000 * 8 * 2 * size.SIZE


def test_a_chart_puts_points_where_they_belong() -> None:
    x, y = Axis("x", 1, 100, (1, 10, 100), log=True), Axis("y", 0, 10, (0, 5, 10))
    drawn = chart("title & more", x, y, [Line("a", [(1, 0), (10, 5), (100, 10)], "#123456")], marks=[10])
    root = ET.fromstring(drawn)
    (line,) = (part for part in root.iter() if part.tag.endswith("polyline"))
    (left, low), (middle, half), (right, high) = (map(float, p.split(",")) for p in line.get("points", "").split())
    assert middle == pytest.approx((left + right) / 2)
    assert half == pytest.approx((low + high) / 2)
    assert low > high
    assert "title & more" in {part.text for part in root.iter()}


def test_labels_of_lines_that_end_together_do_not_overlap() -> None:
    axis = Axis("", 0, 1, ())
    lines = [Line(f"line {i}", [(0, 0), (1, 0.5 + i / 1000)], "#000000") for i in range(4)]
    texts = [
        part for part in ET.fromstring(chart("", axis, axis, lines)).iter() if (part.text or "").startswith("line")
    ]
    levels = sorted(float(part.get("y", "")) for part in texts)
    assert len(levels) == 4
    assert min(np.diff(levels)) >= 14.9


def test_bars_and_dots_are_to_scale() -> None:
    drawn = ET.fromstring(bars("t", ["A", "B"], "l", [Row("r", [0.25, 0.5], [True, False])]))
    one, two = (float(part.get("height", "")) for part in list(drawn.iter())[2:] if part.tag.endswith("rect"))
    assert two / one == pytest.approx(2, rel=0.01)
    root = ET.fromstring(dots("t", {"a": 0.5, "b": 1, "c": 2}, 0.5, 2))
    low, middle, high = (float(part.get("cx", "")) for part in root.iter() if part.tag.endswith("circle"))
    assert middle == pytest.approx((low + high) / 2)


def test_ticks_are_short() -> None:
    assert [number(value) for value in (0.05, 1, 1500, 1e6, 1e9)] == ["0.05", "1", "1.5 k", "1 M", "1 G"]
