"""What a worker says over HTTP."""

from __future__ import annotations

from urllib.request import urlopen


def get(port: int, path: str) -> str:
    """The answer of the worker at this port; raises OSError if there is none, or no good one."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
        return text
