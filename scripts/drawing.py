"""Line charts as SVG, by hand: small files that read well in a browser and in a difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#3aa0d8", "#222222")
"""Told apart by colour-blind readers too, on white."""

GREY = "#8a929a"

_WIDTH, _LEFT, _RIGHT = 760, 64, 170
_HEIGHT, _TOP, _BOTTOM = 340, 40, 46
_GAP = 15


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from where to where; ``ticks`` are the numbers that are written at it."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is, from 0 at the low end to 1 at the high end; what lies outside is put at the end."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, max(value, self.low)))
        return min((value - low) / (high - low), 1.0)


@dataclass(frozen=True)
class Line:
    """One line: its name, written at its end, and its points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Sequence[float] = ()) -> str:
    """Lines over a light grid, each with its name at its right end; ``marks`` are values of x with a vertical line."""
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return _LEFT + across * x.at(point[0]), _TOP + down * (1 - y.at(point[1]))

    parts = [f'<text x="{_LEFT}" y="22" font-weight="bold">{escape(title)}</text>']
    for tick in y.ticks:
        (_, level) = place((x.low, tick))
        parts.append(f'<path d="M{_LEFT} {level:.1f}h{across}" stroke="#e3e6e9"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in x.ticks:
        (along, _) = place((tick, y.low))
        parts.append(f'<text x="{along:.1f}" y="{_TOP + down + 18}" text-anchor="middle">{number(tick)}</text>')
    for mark in marks:
        (along, _) = place((mark, y.low))
        parts.append(f'<path d="M{along:.1f} {_TOP}v{down}" stroke="{GREY}" stroke-dasharray="3 3"/>')
    parts.append(f'<path d="M{_LEFT} {_TOP}v{down}h{across}" stroke="#555" fill="none"/>')
    middle = _LEFT + across / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle" fill="#555">{escape(x.label)}</text>')
    parts.append(
        f'<text x="14" y="{_TOP + down / 2:.0f}" text-anchor="middle" fill="#555" '
        f'transform="rotate(-90 14 {_TOP + down / 2:.0f})">{escape(y.label)}</text>'
    )
    ends = []
    for line in lines:
        points = [place(point) for point in line.points if all(map(math.isfinite, point))]
        path = " ".join(f"{along:.1f},{level:.1f}" for along, level in points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2" '
            f'stroke-linejoin="round"{dash}/>'
        )
        ends.append(points[-1])
    for line, level in zip(lines, _apart([level for _, level in ends]), strict=True):
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 8}" y="{level + 4:.1f}" fill="{line.colour}">{escape(line.name)}</text>'
        )
    return document("\n".join(parts), _HEIGHT)


@dataclass(frozen=True)
class Bars:
    """A row of bars: its name, their heights, and which of them stand out."""

    name: str
    heights: Sequence[float]
    marked: Sequence[bool]


def bars(title: str, labels: Sequence[str], label: str, rows: Sequence[Bars]) -> str:
    """Rows of bars, one under the other, on one scale.

    ``labels`` are written under each bar of the last row, ``label`` under all of them.
    """
    tall, step = 52, 84
    across = (_WIDTH - 2 * _LEFT) / len(rows[0].heights)
    unit = tall / max(max(row.heights) for row in rows)
    parts = [f'<text x="{_LEFT}" y="22" font-weight="bold">{escape(title)}</text>']
    for i, row in enumerate(rows):
        floor = _TOP + step * i + 20 + tall
        parts.append(f'<text x="{_LEFT}" y="{floor - tall - 6}">{escape(row.name)}</text>')
        for j, (height, marked) in enumerate(zip(row.heights, row.marked, strict=True)):
            size, left, colour = unit * height, _LEFT + across * j, COLOURS[0] if marked else GREY
            top = floor - max(size, 0.0)
            parts.append(
                f'<rect x="{left + 2:.1f}" y="{top:.1f}" width="{across - 4:.1f}" height="{abs(size):.1f}" '
                f'fill="{colour}"/>'
            )
            if height > 0.005:
                parts.append(
                    f'<text x="{left + across / 2:.1f}" y="{top - 3:.1f}" font-size="9" '
                    f'text-anchor="middle">{height:.2f}</text>'
                )
        parts.append(f'<path d="M{_LEFT} {floor}H{_WIDTH - _LEFT}" stroke="#555"/>')
    floor = _TOP + step * len(rows) - step + 20 + tall
    for j, letter in enumerate(labels):
        along = _LEFT + across * (j + 0.5)
        parts.append(f'<text x="{along:.1f}" y="{floor + 16}" text-anchor="middle">{escape(letter)}</text>')
    height = floor + 48
    parts.append(f'<text x="{_LEFT}" y="{height - 14}" fill="#555">{escape(label)}</text>')
    return document("\n".join(parts), height)


def dots(title: str, values: Mapping[str, float], low: float, high: float) -> str:
    """A dot for each value on one logarithmic axis, its name to the left; a line stands at 1."""
    left, step = 220, 17
    axis = Axis("", low, high, (low, 1, high), log=True)
    across, floor = _WIDTH - left - 60, _TOP + step * len(values) + 6
    parts = [f'<text x="{left}" y="22" font-weight="bold">{escape(title)}</text>']
    for tick in axis.ticks:
        along = left + across * axis.at(tick)
        parts.append(f'<path d="M{along:.1f} {_TOP - 4}V{floor}" stroke="{"#555" if tick == 1 else "#e3e6e9"}"/>')
        parts.append(f'<text x="{along:.1f}" y="{floor + 16}" text-anchor="middle">{tick:g}</text>')
    for i, (name, value) in enumerate(values.items()):
        level, along = _TOP + step * i + 8, left + across * axis.at(value)
        parts.append(f'<text x="{left - 12}" y="{level + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<path d="M{left} {level}h{across}" stroke="#f1f3f4"/>')
        parts.append(f'<circle cx="{along:.1f}" cy="{level}" r="4" fill="{COLOURS[0]}"/>')
        parts.append(f'<text x="{along + 9:.1f}" y="{level + 4}">{value:.2f}</text>')
    return document("\n".join(parts), floor + 28)


def document(content: str, height: int) -> str:
    """The SVG around its content."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="{_WIDTH}" height="{height}" fill="#fff"/>\n'
        f"{content}\n</svg>\n"
    )


def number(value: float) -> str:
    """A tick as it is written: 1,000,000 as 1 M, 0.001 as it is."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from one to the other."""
    return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]


def _apart(levels: Iterable[float]) -> list[float]:
    """The levels, moved so that labels at them don't overlap."""
    wanted = list(levels)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = wanted[:]
    for _ in range(100):
        for above, below in pairwise(order):
            if (overlap := _GAP - (placed[below] - placed[above])) > 0.01:
                placed[above] -= overlap / 2
                placed[below] += overlap / 2
    return placed
