"""Secrets, and how whatever is said by this process is kept from saying one."""

from __future__ import annotations

import json
import logging
from typing import Self

MASK = "***"

_SHORTEST = 4
"""A shorter one would take half of every line with it, and show by its absence what it is."""

_known: set[str] = set()


class Secret(str):
    """Text that its repr doesn't show. Once made, `masked` knows it."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Remember it, in the forms that it may have in a line."""
        if len(text) >= _SHORTEST:
            _known.update((text, repr(text)[1:-1], repr(text.encode())[2:-1], json.dumps(text)[1:-1]))
        return super().__new__(cls, text)

    def __repr__(self) -> str:
        return f"'{MASK}'"


def masked(text: str) -> str:
    """The text without any secret of this process, whoever wrote it."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


class MaskedRecord(logging.LogRecord):
    """A record whose message holds no secret: libraries log the requests that they send, a login included."""

    def getMessage(self) -> str:  # noqa: N802
        """The message, masked."""
        return masked(super().getMessage())


def mask_logs() -> None:
    """From here on, whatever is logged is masked, by whichever handler it goes."""
    logging.setLogRecordFactory(MaskedRecord)
