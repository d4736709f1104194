"""What is wrong with a configuration, said so that it can be mended: where, what was found, what was expected."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError

Path = tuple[str | int, ...]
"""The keys (and list indices) that lead to a value: ``("tables", "player", "operators", "weighted", "weights", 2)``."""

_LONGEST = 60
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would end the line, or tell a terminal what to do."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is (in a file also on which line, from 1), what was found and what was expected."""

    path: Path
    message: str
    line: int | None = None

    def under(self, *parents: str | int) -> Problem:
        """The same mistake seen from further up."""
        return Problem((*parents, *self.path), self.message)

    def __str__(self) -> str:
        text = f"{dotted(self.path)}: {self.message}" if self.path else self.message
        return _CONTROL.sub(lambda control: f"\\u{ord(control[0]):04x}", text)


class ConfigError(InputError):
    """A configuration that can't be used: ``problems`` holds every mistake that was found, ``cause`` a line of each."""

    def __init__(self, problems: Iterable[Problem], file: str = "", mend: str = "") -> None:
        self.problems = tuple(problems)
        lines = (f"{file}:{problem.line}: {problem}" if file else str(problem) for problem in self.problems)
        super().__init__("\n".join(lines), mend)


def dotted(path: Path) -> str:
    """A path as TOML writes it: ``tables.player.operators."two words".weights[2]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part != "" and _BARE.issuperset(part)
            text += ("." if text else "") + (part if bare else json.dumps(part, ensure_ascii=False))
    return text


def shown(value: object) -> str:
    """A value as a reader of TOML would write it, on one line, cut if long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def mismatch(value: object, expected: str) -> str:
    """The message of most mistakes."""
    return f"found {shown(value)}, expected {expected}"


def alternatives(names: Iterable[object]) -> str:
    """``"a", "b" or "c"``."""
    quoted = [shown(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """The message for a name that nobody knows, with the nearest one that is known."""
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"; did you mean {shown(near[0])}?" if near else ""
    some = alternatives(sorted(known)) if known else "none"
    return f"found the unknown {what} {shown(name)}, expected {some}{hint}"
