"""The pictures of the explanations, drawn from what the operators do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.pictures import asked, influence, regime, shift, size

FOLDER = Path(__file__).parents[2] / "docs" / "images"

PICTURES: Mapping[str, Callable[[], str]] = {
    "memory-influence.svg": influence.picture,
    "memory-shift.svg": shift.picture,
    "memory-asked.svg": asked.picture,
    "memory-regime.svg": regime.picture,
    "memory-size.svg": size.picture,
}
"""What draws each file."""
