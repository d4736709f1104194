"""What an examination comes to: findings, each with its mend where there is something to mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import KafkaStateError

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    A ``problem`` would stop a run, or already stops it; a ``warning`` is worth knowing. ``subject`` is what was looked
    at, like ``topic``; ``found`` what it is like; ``mend`` what to do about it.
    """

    verdict: Verdict
    subject: str
    found: str
    mend: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding("ok", subject, found)


def warning(subject: str, found: str, mend: str) -> Finding:
    """It works, and is worth knowing."""
    return Finding("warning", subject, found, mend)


def problem(subject: str, error: KafkaStateError) -> Finding:
    """What a run ends with, or would."""
    return Finding("problem", subject, error.cause, error.mend)


def problems(subject: str, errors: Iterable[KafkaStateError]) -> Iterator[Finding]:
    """All of them."""
    return (problem(subject, error) for error in errors)
