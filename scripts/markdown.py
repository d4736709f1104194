"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Cells = Sequence[str]


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """Rows under a head; a column whose first cell begins with a digit is set to the right."""
    body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    rule = ["---:" if cell[:1].isdigit() else "---" for cell in body[0]]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))
