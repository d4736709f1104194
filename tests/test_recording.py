"""The pictures of the terminal: what a recording keeps of a screen, and that those that are kept are recordings."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipeline.cli import main
from scripts.recording import FOLDER, PICTURES, last_frame, picture

pytestmark = pytest.mark.docs


def words(drawing: str) -> str:
    """All text of a picture."""
    texts = (element.text or "" for element in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text"))
    return " ".join("".join(texts).replace("\xa0", " ").split())


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_its_commands_and_needs_nothing_from_elsewhere(name: str) -> None:
    drawing = Path(FOLDER, name).read_text("utf-8")
    for command in PICTURES[name]:
        assert f"$ {command}" in words(drawing)
        assert command.split()[1] in main.list_commands(None)  # type: ignore[arg-type]
    assert "@font-face" not in drawing
    assert str(Path.home()) not in drawing


def test_of_a_view_that_is_drawn_over_the_last_is_kept() -> None:
    assert last_frame("\x1b[?1049h\x1b[Hone\r\n\x1b[Htwo\r\nlines\x1b[?1049lthe shell again") == "two\nlines"
    assert last_frame("a\r\n\x1b[36mb\x1b[0m\r\n") == "a\n\x1b[36mb\x1b[0m\n"


def test_colours_stay_and_what_is_too_long_is_cut() -> None:
    drawing = picture([("streamfold top", "\x1b[32mready\x1b[0m   \n   \n"), ("streamfold query", "x" * 500)])
    assert words(drawing).startswith("streamfold$ streamfold top ready $ streamfold query xxx")
    assert words(drawing).endswith("x…")
    assert "fill: #98e024" in drawing
