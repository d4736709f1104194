"""Where the figures are published: the data, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.operators import report
from bench.operators.measure import Results

_DOCS = Path(__file__).parents[2] / "docs"

DATA = _DOCS / "images" / "operators.json"


def published() -> Results:
    """The results that the documentation shows."""
    return msgspec.json.decode(DATA.read_bytes(), type=Results)


def files(results: Results) -> Mapping[Path, str]:
    """The page and its charts."""
    return {
        _DOCS / "operator-benchmarks.md": report.page(results),
        _DOCS / "images" / "operators-flat.svg": report.flat(results),
        _DOCS / "images" / "operators-kept.svg": report.kept(results),
    }
