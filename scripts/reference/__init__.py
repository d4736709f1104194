"""The reference pages of the operators: made from their docstrings, options and layouts, and from examples that run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.reference.catalogue import families
from scripts.reference.page import index, page

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "operators"


def pages() -> Mapping[str, str]:
    """All pages, by the name of their file."""
    known = families()
    made = {f"{entry.name}.md": page(entry) for family in known for entry in family.entries}
    return {"index.md": index(known), **made}
