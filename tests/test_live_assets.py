"""The files of the live page: all are served and none is left out of the package."""

from __future__ import annotations

import re
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from pipeline.edges.web.assets import ASSETS

ROOT = Path(__file__).parent.parent
FOLDER = Path("pipeline/edges/web/page")
FILES = {path.name for path in (ROOT / FOLDER).iterdir()}


def test_the_wheel_has_every_file_of_the_page() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {str(FOLDER / name) for name in FILES} <= packed


def test_every_file_of_the_page_is_served_and_nothing_from_elsewhere_is_named() -> None:
    assert {path.removeprefix("/") or "index.html" for path in ASSETS} == FILES
    for name in FILES:
        text = (ROOT / FOLDER / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://", text), name
        named = re.findall(r'(?:href|src)="([\w.]+)"|from "\./([\w.]+)"', text)
        assert {one or other for one, other in named} <= FILES | {"tables", "metrics", "readyz"}, name
